"""AlexNet as first published.

A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks," NIPS 2012,
section 3.5: two groups in conv2, conv4 and conv5, local response normalisation after conv1 and conv2.
"""

from lbsim.workload.layers import Workload
from lbsim.workload.models._alexnet import classify, pool
from lbsim.workload.models._imagenet import images, on_imagenet

__all__ = ["build"]


def build() -> Workload:
    """Return the grouped AlexNet on 227x227 images: 60,965,224 parameters in 16 tensors, 0.724 GMAC.

    The usual 0.727 (convnet-burden; Jia et al.) is 0.4 % more, about what pooling, ReLU and normalisation would add.
    """
    stack = images(227)
    stack.conv2d("conv1", 96, 11, stride=4, bias=True)
    stack.relu("relu1")
    stack.local_response_norm("norm1")
    pool(stack, "pool1")
    stack.conv2d("conv2", 256, 5, padding=2, groups=2, bias=True)
    stack.relu("relu2")
    stack.local_response_norm("norm2")
    pool(stack, "pool2")
    for index, channels, groups in ((3, 384, 1), (4, 384, 2), (5, 256, 2)):
        stack.conv2d(f"conv{index}", channels, 3, padding=1, groups=groups, bias=True)
        stack.relu(f"relu{index}")
    pool(stack, "pool5")
    classify(stack)
    return on_imagenet(stack, "alexnet", 227, "Krizhevsky et al., NIPS 2012, section 3.5; Caffe's bvlc_alexnet")
