"""ResNet-152 v1.5."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._resnet import resnet

__all__ = ["build"]


def build() -> Workload:
    """Return ResNet-152 v1.5 on 224x224 images: 60,192,808 parameters in 467 tensors, 11.514 GMAC."""
    return resnet("resnet152", (3, 8, 36, 3))
