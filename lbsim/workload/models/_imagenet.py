"""Common parts of the ImageNet workloads: data set and sample size."""

from lbsim.workload.builder import Stack
from lbsim.workload.layers import Workload

TRAINING_IMAGES = 1_281_167
VALIDATION_IMAGES = 50_000
"""ILSVRC 2012: O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge," IJCV 115, 2015."""
CLASSES = 1000


def images(size: int) -> Stack:
    """Return an empty stack for RGB images of *size* x *size* pixels."""
    return Stack((3, size, size))


def on_imagenet(stack: Stack, name: str, size: int, source: str) -> Workload:
    """Return the workload of *stack*, trained on ImageNet; images are copied with one byte per colour."""
    return stack.build(
        name,
        source=source,
        input_bytes=3.0 * size * size,
        samples=TRAINING_IMAGES,
        validation_samples=VALIDATION_IMAGES,
    )
