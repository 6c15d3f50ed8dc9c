"""ResNet-50 v1.5."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._resnet import resnet

__all__ = ["build"]


def build() -> Workload:
    """Return ResNet-50 v1.5 on 224x224 images: 25,557,032 parameters in 161 tensors, 4.089 GMAC."""
    return resnet("resnet50", (3, 4, 6, 3))
