"""Inception v3 in training, with the auxiliary classifier."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._inception_v3 import inception_v3

__all__ = ["build"]


def build() -> Workload:
    """Return Inception v3 on 299x299 images: 27,161,264 parameters in 292 tensors, 5.719 GMAC.

    torchvision's 5.713 GMAC is for inference, which skips the auxiliary branch (5.7 M MAC).
    """
    return inception_v3("inception_v3", auxiliary=True)
