"""Inception v3, in torchvision's layout.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception Architecture for Computer Vision,"
CVPR 2016, table 1.
"""

from lbsim.workload.builder import Stack
from lbsim.workload.layers import Workload
from lbsim.workload.models._imagenet import CLASSES, images, on_imagenet
from lbsim.workload.models._inception import AveragePool, Convolution, MaxPool, Split, convolve, module

_TALL, _WIDE = (7, 1), (1, 7)


def inception_v3(name: str, *, auxiliary: bool) -> Workload:
    """Return the network on 299x299 images, with or without the auxiliary classifier."""
    stack = images(299)
    _stem(stack)
    for index, pooled in enumerate((32, 64, 64)):
        _module_a(stack, f"mixed_5{'bcd'[index]}", pooled)
    module(
        stack,
        "mixed_6a",
        [Convolution(384, 3, stride=2)],
        [Convolution(64), Convolution(96, 3), Convolution(96, 3, stride=2)],
        [MaxPool()],
    )
    for index, narrow in enumerate((128, 160, 160, 192)):
        _module_c(stack, f"mixed_6{'bcde'[index]}", narrow)
    if auxiliary:
        _auxiliary(stack.fork())
    module(
        stack,
        "mixed_7a",
        [Convolution(192), Convolution(320, 3, stride=2)],
        [Convolution(192), Convolution(192, _WIDE), Convolution(192, _TALL), Convolution(192, 3, stride=2)],
        [MaxPool()],
    )
    for index in range(2):
        _module_e(stack, f"mixed_7{'bc'[index]}")
    stack.global_average_pool("pool")
    stack.dropout("dropout")
    stack.linear("fc", CLASSES)
    return on_imagenet(stack, name, 299, "Szegedy et al., arXiv:1512.00567, table 1; torchvision 0.29.2")


def _stem(stack: Stack) -> None:
    convolve(stack, "conv_1a", Convolution(32, 3, stride=2))
    convolve(stack, "conv_2a", Convolution(32, 3, valid=True))
    convolve(stack, "conv_2b", Convolution(64, 3))
    stack.max_pool("pool1", 3, stride=2)
    convolve(stack, "conv_3b", Convolution(80))
    convolve(stack, "conv_4a", Convolution(192, 3, valid=True))
    stack.max_pool("pool2", 3, stride=2)


def _module_a(stack: Stack, name: str, pooled: int) -> None:
    module(
        stack,
        name,
        [Convolution(64)],
        [Convolution(48), Convolution(64, 5)],
        [Convolution(64), Convolution(96, 3), Convolution(96, 3)],
        [AveragePool(), Convolution(pooled)],
    )


def _module_c(stack: Stack, name: str, narrow: int) -> None:
    tall, wide = Convolution(narrow, _TALL), Convolution(narrow, _WIDE)
    module(
        stack,
        name,
        [Convolution(192)],
        [Convolution(narrow), wide, Convolution(192, _TALL)],
        [Convolution(narrow), tall, wide, tall, Convolution(192, _WIDE)],
        [AveragePool(), Convolution(192)],
    )


def _module_e(stack: Stack, name: str) -> None:
    split = Split((Convolution(384, (1, 3)), Convolution(384, (3, 1))))
    module(
        stack,
        name,
        [Convolution(320)],
        [Convolution(384), split],
        [Convolution(448), Convolution(384, 3), split],
        [AveragePool(), Convolution(192)],
    )


def _auxiliary(branch: Stack) -> None:
    branch.average_pool("aux.pool1", 5, stride=3)
    convolve(branch, "aux.conv0", Convolution(128))
    convolve(branch, "aux.conv1", Convolution(768, 5, valid=True))
    branch.global_average_pool("aux.pool2")
    branch.linear("aux.fc", CLASSES)
