"""A model as the simulator sees it: layers with their work, their tensors and their memory.

A workload file in ``lbsim/workloads`` builds one from real shapes with a `Stack`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod


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
    """A 3x3 convolution of stride 1, which Winograd's algorithm serves."""
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


class Stack:
    """Layers as they are stacked, with the shape that the next one gets.

    Shapes are ``(channels, height, width)`` or ``(tokens, features)``, per sample.

    >>> stack = Stack((3, 224, 224))
    >>> stack.conv2d("conv1", 64, 7, stride=2, padding=3)
    >>> stack.shape
    (64, 112, 112)
    """

    def __init__(self, shape: tuple[int, ...], layers: list[Layer] | None = None):
        self.shape = shape
        self.layers: list[Layer] = [] if layers is None else layers

    @property
    def elements(self) -> int:
        """Of the activation that the next layer gets, per sample."""
        return prod(self.shape)

    def fork(self) -> "Stack":
        """Return a stack that starts at this shape and adds to the same layers: a branch."""
        return Stack(self.shape, self.layers)

    def concatenate(self, branches: Sequence["Stack"]) -> None:
        """Join *branches* along the channels; frameworks write them where they belong, or copy them once."""
        channels = sum(branch.shape[0] for branch in branches)
        self.shape = (channels, *branches[0].shape[1:])

    def conv2d(
        self,
        name: str,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        """Add a convolution; the first layer of a network computes no gradient of its input."""
        height, width = _pair(kernel)
        pad_height, pad_width = _pair(padding)
        inputs, rows, columns = self.shape
        rows_out = (rows + 2 * pad_height - height) // stride + 1
        columns_out = (columns + 2 * pad_width - width) // stride + 1
        weights = channels * (inputs // groups) * height * width
        shape = (channels, rows_out, columns_out)
        flops = 2.0 * weights * rows_out * columns_out
        tensors = [Tensor(f"{name}.weight", weights)]
        if bias:
            tensors.append(Tensor(f"{name}.bias", channels, adapted=False))
        self._product(
            Layer(
                name,
                "convolution",
                flops,
                (1.0 if not self.layers else 2.0) * flops,
                self.elements + prod(shape),
                2.0 * (self.elements + prod(shape)),
                self.elements,
                tuple(tensors),
                (1, 1 if not self.layers else 2),
                (inputs // groups, channels // groups),
                square=(height, width) == (3, 3) and stride == 1 and groups == 1,
            ),
            shape,
        )

    def linear(self, name: str, features: int, *, bias: bool = True) -> None:
        """Add a fully connected layer; it works on the last dimension, or on all of an image."""
        tokens, inputs = self.shape if len(self.shape) == 2 else (1, self.elements)
        flops = 2.0 * tokens * inputs * features
        tensors = [Tensor(f"{name}.weight", inputs * features)]
        if bias:
            tensors.append(Tensor(f"{name}.bias", features, adapted=False))
        moved = float(tokens * (inputs + features))
        shape = (tokens, features)
        layer = Layer(name, "linear", flops, 2 * flops, moved, 2 * moved, self.elements, tuple(tensors), kernels=(1, 2))
        self._product(layer, shape)

    def product(self, name: str, flops: float, elements: float, saved: float) -> None:
        """Add a batched matrix product without weights, such as attention's; the shape stays."""
        layer = Layer(name, "product", flops, 2 * flops, elements, 2 * elements, saved, kernels=(1, 2))
        self._product(layer, self.shape)

    def batch_norm(self, name: str) -> None:
        """Add batch normalisation: three passes over the activation forward, five backward."""
        self._normalise(name, self.shape[0], (3, 5))

    def layer_norm(self, name: str) -> None:
        """Add layer normalisation over the last dimension: three passes forward, five backward."""
        self._normalise(name, self.shape[-1], (3, 5))

    def relu(self, name: str) -> None:
        """Add a ReLU, in place: two passes forward, three backward, nothing new to keep."""
        self._elementwise(name, (2, 3), saved=0.0)

    def add(self, name: str) -> None:
        """Add the sum with a shortcut: three passes forward, one backward."""
        self._elementwise(name, (3, 1), saved=0.0)

    def activation(self, name: str) -> None:
        """Add an activation such as GELU that keeps its input: two passes forward, three backward."""
        self._elementwise(name, (2, 3), saved=1.0)

    def dropout(self, name: str) -> None:
        """Add dropout: two passes forward and two back, and a mask of a byte an element."""
        self._elementwise(name, (2, 2), saved=0.25)

    def local_response_norm(self, name: str) -> None:
        """Add local response normalisation: four passes forward, six backward."""
        layer = self._passes(name, "normalisation", (4, 6), saved=2.0)
        self.layers.append(layer)

    def softmax(self, name: str, elements: float) -> None:
        """Add a softmax over *elements* a sample: two passes forward, three backward; the shape stays."""
        self.layers.append(Layer(name, "elementwise", 0.0, 0.0, 2 * elements, 3 * elements, elements))

    def max_pool(self, name: str, kernel: int, *, stride: int, padding: int = 0, ceil: bool = False) -> None:
        """Add max pooling."""
        self._pool(name, kernel, stride, padding, ceil)

    def average_pool(self, name: str, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        """Add average pooling."""
        self._pool(name, kernel, stride, padding, ceil=False)

    def global_average_pool(self, name: str) -> None:
        """Add the average over height and width."""
        before, channels = self.elements, self.shape[0]
        self.layers.append(Layer(name, "pooling", 0.0, 0.0, before + channels, before + channels, 0.0))
        self.shape = (channels, 1, 1)

    def embedding(self, name: str, rows: int, features: int, tokens: int) -> None:
        """Add a table of *rows* embeddings of which each sample looks up *tokens*; gradients are dense."""
        moved = 2.0 * tokens * features
        weight = Tensor(f"{name}.weight", rows * features)
        self.layers.append(Layer(name, "lookup", 0.0, 0.0, moved, moved, 0.0, (weight,)))
        self.shape = (tokens, features)

    def build(self, name: str, *, source: str, input_bytes: float, samples: int, validation_samples: int) -> Workload:
        """Return the workload that these layers make."""
        return Workload(name, tuple(self.layers), source, input_bytes, samples, validation_samples)

    def _product(self, layer: Layer, shape: tuple[int, ...]) -> None:
        self.layers.append(layer)
        self.shape = shape

    def _normalise(self, name: str, features: int, passes: tuple[int, int]) -> None:
        scale = Tensor(f"{name}.weight", features, adapted=False)
        shift = Tensor(f"{name}.bias", features, adapted=False)
        layer = self._passes(name, "normalisation", passes, saved=1.0)
        self.layers.append(replace(layer, tensors=(scale, shift)))

    def _elementwise(self, name: str, passes: tuple[int, int], saved: float) -> None:
        layer = self._passes(name, "elementwise", passes, saved)
        self.layers.append(replace(layer, fusible=True))

    def _passes(self, name: str, kind: str, passes: tuple[int, int], saved: float) -> Layer:
        size = float(self.elements)
        return Layer(name, kind, 0.0, 0.0, passes[0] * size, passes[1] * size, saved * size)

    def _pool(self, name: str, kernel: int, stride: int, padding: int, ceil: bool) -> None:
        before = self.elements
        channels, rows, columns = self.shape
        rows_out, columns_out = (_pooled(size, kernel, stride, padding, ceil) for size in (rows, columns))
        self.shape = (channels, rows_out, columns_out)
        moved = float(before + self.elements)
        self.layers.append(Layer(name, "pooling", 0.0, 0.0, moved, moved + before, before))


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _pooled(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> int:
    room = size + 2 * padding - kernel
    return (-(-room // stride) if ceil else room // stride) + 1
