"""Gradient tensors and the times at which backward makes them ready."""

from dataclasses import dataclass

GRADIENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


MASTER_BYTES = 4


@dataclass(frozen=True)
class GradientTensor:
    """A gradient and when it is ready."""

    name: str
    number: int
    """Counted from the input and from 1."""
    elements: int
    ready: float
    """Seconds after backward starts."""


@dataclass(frozen=True)
class ComputeTimes:
    """What one GPU computes in a step, in seconds, when nothing disturbs it."""

    forward: float
    backward: float
    update: float
    input_overhead: float
    """What preparing real input costs the GPU."""
    gradients: tuple[GradientTensor, ...]
    """In the order in which backward makes them ready."""

    def scaled(self, factor: float) -> "ComputeTimes":
        """Return the times of a machine that computes *factor* times as long; the update stays."""
        if factor == 1:
            return self
        gradients = tuple(GradientTensor(g.name, g.number, g.elements, g.ready * factor) for g in self.gradients)
        return ComputeTimes(
            self.forward * factor, self.backward * factor, self.update, self.input_overhead * factor, gradients
        )
