"""GoogLeNet (Inception v1) with batch norm, without the auxiliary classifiers.

C. Szegedy et al., "Going Deeper with Convolutions," CVPR 2015, table 1; batch norm, and 3x3 where the paper has 5x5
convolutions, as in torchvision.
"""

from lbsim.workload.layers import Workload
from lbsim.workload.models._imagenet import CLASSES, images, on_imagenet
from lbsim.workload.models._inception import Convolution, MaxPool, convolve, module

__all__ = ["build"]

_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels of the 1x1, the two 3x3 branches (reduction, 3x3) and the pooling branch (table 1 of the paper)."""


def build() -> Workload:
    """Return torchvision's GoogLeNet on 224x224 images: 6,624,904 parameters in 173 tensors, 1.498 GMAC."""
    stack = images(224)
    stack.conv2d("conv1.conv", 64, 7, stride=2, padding=3)
    stack.batch_norm("conv1.bn")
    stack.relu("conv1.relu")
    stack.max_pool("pool1", 3, stride=2, ceil=True)
    convolve(stack, "conv2", Convolution(64))
    convolve(stack, "conv3", Convolution(192, 3))
    stack.max_pool("pool2", 3, stride=2, ceil=True)
    for name, (one, reduce_three, three, reduce_five, five, pooled) in _MODULES.items():
        if name == "4a":
            stack.max_pool("pool3", 3, stride=2, ceil=True)
        if name == "5a":
            stack.max_pool("pool4", 2, stride=2, ceil=True)
        module(
            stack,
            f"inception{name}",
            [Convolution(one)],
            [Convolution(reduce_three), Convolution(three, 3)],
            [Convolution(reduce_five), Convolution(five, 3)],
            [MaxPool(stride=1, padding=1, ceil=True), Convolution(pooled)],
        )
    stack.global_average_pool("pool5")
    stack.dropout("dropout")
    stack.linear("fc", CLASSES)
    return on_imagenet(
        stack, "googlenet", 224, "Szegedy et al., arXiv:1409.4842, table 1; torchvision 0.29.2 (with BN)"
    )
