"""VGG-16: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks," ICLR 2015, table 1, column D."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._imagenet import CLASSES, images, on_imagenet

__all__ = ["build"]

_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def build() -> Workload:
    """Return VGG-16 without batch norm on 224x224 images: 138,357,544 parameters in 32 tensors, 15.470 GMAC."""
    stack = images(224)
    for block, widths in enumerate(_WIDTHS, start=1):
        for index, width in enumerate(widths, start=1):
            stack.conv2d(f"conv{block}_{index}", width, 3, padding=1, bias=True)
            stack.relu(f"relu{block}_{index}")
        stack.max_pool(f"pool{block}", 2, stride=2)
    for index in (6, 7):
        stack.linear(f"fc{index}", 4096)
        stack.relu(f"relu{index}")
        stack.dropout(f"drop{index}")
    stack.linear("fc8", CLASSES)
    return on_imagenet(stack, "vgg16", 224, "Simonyan and Zisserman, arXiv:1409.1556, table 1, column D")
