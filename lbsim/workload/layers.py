"""Workloads: models as lists of layers with their work, tensors and saved activations.

The modules of ``lbsim/workload/models`` build them from real shapes with a `lbsim.workload.builder.Stack`.
"""

from dataclasses import dataclass
from functools import cached_property

__all__ = ["Layer", "Tensor", "Workload"]


@dataclass(frozen=True)
class Tensor:
    """Trainable tensor; its gradient has the same number of elements."""

    name: str
    elements: int
    adapted: bool = True
    """Whether LARS and weight decay apply; False for biases and normalisation parameters."""


@dataclass(frozen=True)
class Layer:
    """Layer of a model, with its cost per sample, forward and backward."""

    name: str
    kind: str
    """``convolution``, ``linear``, ``product``, ``normalisation``, ``elementwise``, ``pooling`` or ``lookup``."""
    forward_flops: float
    """FLOP per sample; a multiply-add counts as two."""
    backward_flops: float
    """FLOP per sample."""
    forward_elements: float
    """Elements read and written per sample, without fusion of kernels."""
    backward_elements: float
    """Elements read and written per sample, without fusion of kernels."""
    saved_elements: float
    """Elements per sample saved in forward for backward."""
    tensors: tuple[Tensor, ...] = ()
    kernels: tuple[int, int] = (1, 1)
    """Kernels launched forward and backward."""
    channels: tuple[int, int] | None = None
    """Input and output channels per group of a convolution; None for other layers."""
    square: bool = False
    """Whether Winograd's algorithm applies: a 3x3 or 5x5 convolution of stride 1 with enough channels per group."""
    fusible: bool = False
    """Whether a framework that fuses kernels executes this layer inside the preceding kernel."""

    @property
    def parameters(self) -> int:
        """Trainable elements."""
        return sum(tensor.elements for tensor in self.tensors)


@dataclass(frozen=True)
class Workload:
    """Model and its data set."""

    name: str
    layers: tuple[Layer, ...]
    """Layers in forward order."""
    source: str
    """Publication or code that the layers are taken from."""
    input_bytes: float
    """Bytes of one sample as copied to the accelerator."""
    samples: int
    """Samples in the training set."""
    validation_samples: int
    """Samples in the validation set; 0 if there is none."""

    @cached_property
    def parameters(self) -> int:
        """Trainable elements."""
        return sum(layer.parameters for layer in self.layers)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Trainable tensors in the order in which backward completes their gradients."""
        return tuple(tensor for layer in reversed(self.layers) for tensor in reversed(layer.tensors))

    @cached_property
    def forward_flops(self) -> float:
        """FLOP per sample; a multiply-add counts as two."""
        return sum(layer.forward_flops for layer in self.layers)
