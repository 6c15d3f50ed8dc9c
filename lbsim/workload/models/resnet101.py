"""ResNet-101 v1.5."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._resnet import resnet

__all__ = ["build"]


def build() -> Workload:
    """Return ResNet-101 v1.5 on 224x224 images: 44,549,160 parameters in 314 tensors, 7.801 GMAC."""
    return resnet("resnet101", (3, 4, 23, 3))
