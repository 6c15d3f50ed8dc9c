"""What the Inception networks share: modules whose branches are columns of convolutions, joined at the end.

A column is written as a tuple of steps, as in tf_cnn_benchmarks' ``inception_model.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lbsim.workload.builder import Stack


@dataclass(frozen=True)
class Convolution:
    """A convolution with its batch norm and ReLU; padded to keep the size, unless *valid* or strided."""

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    valid: bool = False


@dataclass(frozen=True)
class MaxPool:
    """A 3x3 maximum."""

    stride: int = 2
    padding: int = 0
    ceil: bool = False


@dataclass(frozen=True)
class AveragePool:
    """A 3x3 average that keeps the size."""


@dataclass(frozen=True)
class Split:
    """Convolutions side by side on the same input, joined."""

    convolutions: tuple[Convolution, ...]


Step = Convolution | MaxPool | AveragePool | Split


def convolve(stack: Stack, name: str, step: Convolution) -> None:
    """Add a convolution without bias, its batch norm and its ReLU."""
    height, width = (step.kernel, step.kernel) if isinstance(step.kernel, int) else step.kernel
    same = step.stride == 1 and not step.valid
    padding = (height // 2, width // 2) if same else 0
    stack.conv2d(f"{name}.conv", step.channels, step.kernel, stride=step.stride, padding=padding)
    stack.batch_norm(f"{name}.bn")
    stack.relu(f"{name}.relu")


def module(stack: Stack, name: str, *columns: Sequence[Step]) -> None:
    """Add one branch a column, and their concatenation."""
    branches = []
    for column_index, column in enumerate(columns):
        branch = stack.fork()
        for step_index, step in enumerate(column):
            _step(branch, f"{name}.{column_index}.{step_index}", step)
        branches.append(branch)
    stack.concatenate(f"{name}.concatenate", branches)


def _step(stack: Stack, name: str, step: Step) -> None:
    match step:
        case Convolution():
            convolve(stack, name, step)
        case MaxPool():
            stack.max_pool(f"{name}.pool", 3, stride=step.stride, padding=step.padding, ceil=step.ceil)
        case AveragePool():
            stack.average_pool(f"{name}.pool", 3, padding=1)
        case Split():
            module(stack, name, *((convolution,) for convolution in step.convolutions))
