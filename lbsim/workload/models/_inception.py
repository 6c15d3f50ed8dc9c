"""Common parts of the Inception networks: modules of parallel branches, concatenated at the end.

A branch is a sequence of operations, as a column in tf_cnn_benchmarks' ``inception_model.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lbsim.workload.builder import Stack


@dataclass(frozen=True)
class Convolution:
    """Convolution with batch norm and ReLU; padded to keep the size, unless *valid* or strided."""

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    valid: bool = False


@dataclass(frozen=True)
class MaxPool:
    """Max pooling, 3x3."""

    stride: int = 2
    padding: int = 0
    ceil: bool = False


@dataclass(frozen=True)
class AveragePool:
    """Average pooling, 3x3, padded to keep the size."""


@dataclass(frozen=True)
class Split:
    """Parallel convolutions of the same input, concatenated."""

    convolutions: tuple[Convolution, ...]


Operation = Convolution | MaxPool | AveragePool | Split


def convolve(stack: Stack, name: str, convolution: Convolution) -> None:
    """Add a convolution without bias, its batch norm and its ReLU."""
    height, width = (
        (convolution.kernel, convolution.kernel) if isinstance(convolution.kernel, int) else convolution.kernel
    )
    same = convolution.stride == 1 and not convolution.valid
    padding = (height // 2, width // 2) if same else 0
    stack.conv2d(f"{name}.conv", convolution.channels, convolution.kernel, stride=convolution.stride, padding=padding)
    stack.batch_norm(f"{name}.bn")
    stack.relu(f"{name}.relu")


def module(stack: Stack, name: str, *columns: Sequence[Operation]) -> None:
    """Add one branch per column, and their concatenation."""
    branches = []
    for column_index, column in enumerate(columns):
        branch = stack.fork()
        for index, operation in enumerate(column):
            _add(branch, f"{name}.{column_index}.{index}", operation)
        branches.append(branch)
    stack.concatenate(f"{name}.concatenate", branches)


def _add(stack: Stack, name: str, operation: Operation) -> None:
    match operation:
        case Convolution():
            convolve(stack, name, operation)
        case MaxPool():
            stack.max_pool(f"{name}.pool", 3, stride=operation.stride, padding=operation.padding, ceil=operation.ceil)
        case AveragePool():
            stack.average_pool(f"{name}.pool", 3, padding=1)
        case Split():
            module(stack, name, *((convolution,) for convolution in operation.convolutions))
