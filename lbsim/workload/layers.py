"""A model as the simulator sees it: layers with their work, their tensors and their memory.

A workload file in ``lbsim/workload/models`` builds one from real shapes with a `Stack`.
"""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Tensor:
    """A trainable tensor; its gradient has as many elements."""

    name: str
    elements: int
    adapted: bool = True
    """Whether LARS and weight decay apply: not to biases and normalisation parameters."""


@dataclass(frozen=True)
class Layer:
    """One layer and what one sample costs in it, forward and backward."""

    name: str
    kind: str
    """``convolution``, ``linear``, ``product``, ``normalisation``, ``elementwise``, ``pooling`` or ``lookup``."""
    forward_flops: float
    """Per sample; a multiplication and an addition are two."""
    backward_flops: float
    forward_elements: float
    """Elements read and written per sample, when every operation is a kernel of its own."""
    backward_elements: float
    saved_elements: float
    """Elements per sample kept from forward for backward."""
    tensors: tuple[Tensor, ...] = ()
    kernels: tuple[int, int] = (1, 1)
    """Kernels launched forward and backward."""
    channels: tuple[int, int] | None = None
    """Of a convolution: into and out of one group."""
    square: bool = False
    """A 3x3 or 5x5 convolution of stride 1, which Winograd's algorithm serves; not one with a few channels a group."""
    fusible: bool = False
    """An element-wise operation that a fusing framework does inside the kernel before it."""

    @property
    def parameters(self) -> int:
        """Trainable elements."""
        return sum(tensor.elements for tensor in self.tensors)


@dataclass(frozen=True)
class Workload:
    """A model: its layers in forward order, and the data it is usually trained on."""

    name: str
    layers: tuple[Layer, ...]
    source: str
    input_bytes: float
    """Of one sample as it is copied to the accelerator."""
    samples: int
    """In the training set."""
    validation_samples: int

    @cached_property
    def parameters(self) -> int:
        """Trainable elements."""
        return sum(layer.parameters for layer in self.layers)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The trainable tensors, in the order in which backward finishes their gradients."""
        return tuple(tensor for layer in reversed(self.layers) for tensor in reversed(layer.tensors))

    @cached_property
    def forward_flops(self) -> float:
        """Per sample; a multiplication and an addition are two."""
        return sum(layer.forward_flops for layer in self.layers)
