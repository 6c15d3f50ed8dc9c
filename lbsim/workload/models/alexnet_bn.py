"""AlexNet for large batches: batch norm instead of local response normalisation.

You, Gitman and Ginsburg, arXiv:1708.03888, train "AlexNet-BN" with NVCaffe, whose ``models/alexnet_bn`` (Ginsburg's)
normalises after every convolution, before the ReLU, and has two groups. Jia et al., arXiv:1807.11205, figures 3 and 4,
add batch norm after pool5.

Assumed: NVCaffe's network with the norm after pool5 added, and every convolution with its bias (NVCaffe drops four of
them). Then 20 tensors come before that norm and the fully connected layers, and Jia et al.'s team report that
two messages are best split between tensors 20 and 21. Doubtful: Jia et al. give 62 M parameters with 727 M MAC,
which no single network has. Two groups have 61.0 M and 0.72 G; one group has 62.4 M and 1.13 G.
"""

from lbsim.workload.layers import Workload
from lbsim.workload.models._alexnet import classify, pool
from lbsim.workload.models._imagenet import images, on_imagenet

__all__ = ["build"]

_CONVOLUTIONS = ((96, 11, 4, 0, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2))
"""Channels, kernel, stride, padding and groups."""


def build() -> Workload:
    """Return AlexNet-BN on 227x227 images: 60,968,488 parameters in 28 tensors, 0.724 GMAC."""
    stack = images(227)
    for index, (channels, kernel, stride, padding, groups) in enumerate(_CONVOLUTIONS, start=1):
        stack.conv2d(f"conv{index}", channels, kernel, stride=stride, padding=padding, groups=groups, bias=True)
        stack.batch_norm(f"bn{index}")
        stack.relu(f"relu{index}")
        if index in (1, 2, 5):
            pool(stack, f"pool{index}")
    stack.batch_norm("bn_pool5")
    classify(stack)
    source = "borisgin/nvcaffe@514f52f models/alexnet_bn (You et al., arXiv:1708.03888); Jia et al., arXiv:1807.11205"
    return on_imagenet(stack, "alexnet_bn", 227, f"{source}, figure 3")
