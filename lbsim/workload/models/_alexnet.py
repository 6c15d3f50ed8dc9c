"""Common parts of the AlexNets: pooling, and the fully connected layers with nearly all parameters."""

from lbsim.workload.builder import Stack
from lbsim.workload.models._imagenet import CLASSES


def pool(stack: Stack, name: str) -> None:
    """Add the overlapping max pooling: 3x3 windows, stride 2."""
    stack.max_pool(name, 3, stride=2)


def classify(stack: Stack) -> None:
    """Add fc6 to fc8, with dropout after the first two."""
    for index in (6, 7):
        stack.linear(f"fc{index}", 4096)
        stack.relu(f"relu{index}")
        stack.dropout(f"drop{index}")
    stack.linear("fc8", CLASSES)


def single_tower(stack: Stack, conv4: int, padding: int) -> None:
    """Add the AlexNet without groups or normalisation.

    *conv4* are the channels of the fourth convolution, *padding* is that of the first.
    """
    stack.conv2d("conv1", 64, 11, stride=4, padding=padding, bias=True)
    stack.relu("relu1")
    pool(stack, "pool1")
    stack.conv2d("conv2", 192, 5, padding=2, bias=True)
    stack.relu("relu2")
    pool(stack, "pool2")
    for index, channels in ((3, 384), (4, conv4), (5, 256)):
        stack.conv2d(f"conv{index}", channels, 3, padding=1, bias=True)
        stack.relu(f"relu{index}")
    pool(stack, "pool5")
    classify(stack)
