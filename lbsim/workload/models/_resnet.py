"""Residual networks with bottleneck blocks, v1.5: the stride is in the 3x3 convolution.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition," CVPR 2016, table 1; the position
of the stride as in torchvision and the MLPerf reference.
"""

from lbsim.workload.builder import Stack
from lbsim.workload.layers import Workload
from lbsim.workload.models._imagenet import CLASSES, images, on_imagenet

_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4


def resnet(name: str, blocks: tuple[int, int, int, int]) -> Workload:
    """Return the network with the given numbers of bottleneck *blocks* in its four stages."""
    stack = images(224)
    stack.conv2d("conv1", 64, 7, stride=2, padding=3)
    stack.batch_norm("bn1")
    stack.relu("relu1")
    stack.max_pool("pool1", 3, stride=2, padding=1)
    for stage, (count, width) in enumerate(zip(blocks, _WIDTHS, strict=True), start=1):
        for block in range(count):
            stride = 2 if stage > 1 and block == 0 else 1
            _bottleneck(stack, f"layer{stage}.{block}", width, stride, project=block == 0)
    stack.global_average_pool("pool")
    stack.linear("fc", CLASSES)
    return on_imagenet(stack, name, 224, "He et al., arXiv:1512.03385, table 1; stride in the 3x3 convolution (v1.5)")


def _bottleneck(stack: Stack, name: str, width: int, stride: int, *, project: bool) -> None:
    shortcut = stack.fork()
    for index, (kernel, channels) in enumerate(((1, width), (3, width), (1, width * _EXPANSION)), start=1):
        stack.conv2d(f"{name}.conv{index}", channels, kernel, stride=stride if kernel == 3 else 1, padding=kernel // 2)
        stack.batch_norm(f"{name}.bn{index}")
        if index < 3:
            stack.relu(f"{name}.relu{index}")
    if project:
        shortcut.conv2d(f"{name}.downsample", width * _EXPANSION, 1, stride=stride)
        shortcut.batch_norm(f"{name}.downsample.bn")
    stack.add(f"{name}.add")
    stack.relu(f"{name}.relu3")
