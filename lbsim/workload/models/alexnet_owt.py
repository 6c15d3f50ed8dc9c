"""Single-tower AlexNet: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks," 2014."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._alexnet import single_tower
from lbsim.workload.models._imagenet import images, on_imagenet

__all__ = ["build"]


def build() -> Workload:
    """Return torchvision's AlexNet on 224x224 images: 61,100,840 parameters in 16 tensors, 0.714 GMAC."""
    stack = images(224)
    single_tower(stack, conv4=256, padding=2)
    return on_imagenet(stack, "alexnet_owt", 224, "Krizhevsky, arXiv:1404.5997; torchvision 0.29.2 models/alexnet.py")
