"""Inception v3 without the auxiliary classifier, as tf_cnn_benchmarks trains it."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._inception_v3 import inception_v3

__all__ = ["build"]


def build() -> Workload:
    """Return Inception v3 on 299x299 images: 23,834,568 parameters in 284 tensors, 5.713 GMAC.

    tf_cnn_benchmarks' last module has max pooling where torchvision's has average pooling; the cost is about the same.
    """
    return inception_v3("inception_v3_no_aux", auxiliary=False)
