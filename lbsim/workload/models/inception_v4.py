"""Inception v4.

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning," AAAI 2017, figures 3 to 9; no auxiliary classifier, as in timm and tf_cnn_benchmarks.
"""

from lbsim.workload.builder import Stack
from lbsim.workload.layers import Workload
from lbsim.workload.models._imagenet import CLASSES, images, on_imagenet
from lbsim.workload.models._inception import AveragePool, Convolution, MaxPool, Split, convolve, module

__all__ = ["build"]

_TALL, _WIDE = (7, 1), (1, 7)


def build() -> Workload:
    """Return Inception v4 on 299x299 images: 42,679,816 parameters in 449 tensors, 12.254 GMAC."""
    stack = images(299)
    _stem(stack)
    for index in range(4):
        _module_a(stack, f"inception_a{index}")
    module(
        stack,
        "reduction_a",
        [MaxPool()],
        [Convolution(384, 3, stride=2)],
        [Convolution(192), Convolution(224, 3), Convolution(256, 3, stride=2)],
    )
    for index in range(7):
        _module_b(stack, f"inception_b{index}")
    module(
        stack,
        "reduction_b",
        [MaxPool()],
        [Convolution(192), Convolution(192, 3, stride=2)],
        [Convolution(256), Convolution(256, _WIDE), Convolution(320, _TALL), Convolution(320, 3, stride=2)],
    )
    for index in range(3):
        _module_c(stack, f"inception_c{index}")
    stack.global_average_pool("pool")
    stack.dropout("dropout")
    stack.linear("fc", CLASSES)
    return on_imagenet(stack, "inception_v4", 299, "Szegedy et al., arXiv:1602.07261, figures 3 to 9")


def _stem(stack: Stack) -> None:
    convolve(stack, "stem1", Convolution(32, 3, stride=2))
    convolve(stack, "stem2", Convolution(32, 3, valid=True))
    convolve(stack, "stem3", Convolution(64, 3))
    module(stack, "stem4", [MaxPool()], [Convolution(96, 3, stride=2)])
    module(
        stack,
        "stem5",
        [Convolution(64), Convolution(96, 3, valid=True)],
        [Convolution(64), Convolution(64, _TALL), Convolution(64, _WIDE), Convolution(96, 3, valid=True)],
    )
    module(stack, "stem6", [Convolution(192, 3, stride=2)], [MaxPool()])


def _module_a(stack: Stack, name: str) -> None:
    module(
        stack,
        name,
        [AveragePool(), Convolution(96)],
        [Convolution(96)],
        [Convolution(64), Convolution(96, 3)],
        [Convolution(64), Convolution(96, 3), Convolution(96, 3)],
    )


def _module_b(stack: Stack, name: str) -> None:
    module(
        stack,
        name,
        [AveragePool(), Convolution(128)],
        [Convolution(384)],
        [Convolution(192), Convolution(224, _WIDE), Convolution(256, _TALL)],
        [
            Convolution(192),
            Convolution(192, _WIDE),
            Convolution(224, _TALL),
            Convolution(224, _WIDE),
            Convolution(256, _TALL),
        ],
    )


def _module_c(stack: Stack, name: str) -> None:
    split = Split((Convolution(256, (1, 3)), Convolution(256, (3, 1))))
    module(
        stack,
        name,
        [AveragePool(), Convolution(256)],
        [Convolution(256)],
        [Convolution(384), split],
        [Convolution(384), Convolution(448, (1, 3)), Convolution(512, (3, 1)), split],
    )
