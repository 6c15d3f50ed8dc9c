"""Gradient tensors and compute times of a step on a single GPU."""

from dataclasses import dataclass

__all__ = ["GRADIENT_BYTES", "MASTER_BYTES", "ComputeTimes", "GradientTensor"]

GRADIENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
"""Bytes per element of a gradient, by number format."""
MASTER_BYTES = 4
"""Bytes per element of the fp32 master weights and optimizer state."""


@dataclass(frozen=True)
class GradientTensor:
    """Gradient of a tensor, and the time at which backward completes it."""

    name: str
    number: int
    """Number of the tensor, counted from the input and from 1."""
    elements: int
    ready: float
    """Seconds from the start of backward to the complete gradient."""


@dataclass(frozen=True)
class ComputeTimes:
    """Seconds of compute in a step on one GPU, without communication or stragglers."""

    forward: float
    backward: float
    update: float
    input_overhead: float
    """Seconds that real input costs the GPU."""
    gradients: tuple[GradientTensor, ...]
    """Gradients in the order in which backward completes them."""

    def scaled(self, factor: float) -> "ComputeTimes":
        """Return these times with all compute except the update multiplied by *factor*."""
        if factor == 1:
            return self
        gradients = tuple(GradientTensor(g.name, g.number, g.elements, g.ready * factor) for g in self.gradients)
        return ComputeTimes(
            self.forward * factor, self.backward * factor, self.update, self.input_overhead * factor, gradients
        )
