"""AlexNet of tf_cnn_benchmarks: a single tower, with 384 channels in conv4 where torchvision's has 256."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._alexnet import single_tower
from lbsim.workload.models._imagenet import images, on_imagenet

__all__ = ["build"]


def build() -> Workload:
    """Return tf_cnn_benchmarks' AlexNet on 227x227 images: 61,838,248 parameters in 16 tensors, 0.839 GMAC.

    With 1000 classes; the benchmark's networks have one more, for the background.
    """
    stack = images(227)
    single_tower(stack, conv4=384, padding=0)
    return on_imagenet(stack, "alexnet_tf", 227, "tensorflow/benchmarks@039fa95 models/alexnet_model.py")
