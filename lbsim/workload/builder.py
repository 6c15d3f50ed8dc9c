"""Builder of workloads: a stack of layers that tracks shapes, work and saved activations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from lbsim.workload.layers import Layer, Tensor, Workload

__all__ = ["Stack", "is_square"]


@dataclass
class _Activation:
    """Activation between two layers; forks share it, so that it is saved for backward once."""

    kept: bool = False


_FEW_CHANNELS = 16
"""Channels per group below which libraries use other kernels, as for depthwise convolutions."""


def is_square(kernel: tuple[int, ...], channels: tuple[int, int], groups: int = 1) -> bool:
    """Return whether Winograd's algorithm applies to a convolution of stride 1.

    *kernel* is (height, width); *channels* are the input and output channels over all groups.

    >>> is_square((3, 3), (64, 64)), is_square((3, 3), (64, 64), groups=64)
    (True, False)
    """
    return kernel in {(3, 3), (5, 5)} and (groups == 1 or min(channels) // groups >= _FEW_CHANNELS)


class Stack:
    """Stack of layers with the shape of its output.

    Shapes are ``(channels, height, width)`` or ``(tokens, features)``, per sample. An activation that several layers
    save for backward counts once, in the `Layer.saved_elements` of the first layer that saves it.

    >>> stack = Stack((3, 224, 224))
    >>> stack.conv2d("conv1", 64, 7, stride=2, padding=3)
    >>> stack.shape
    (64, 112, 112)
    """

    def __init__(self, shape: tuple[int, ...], layers: list[Layer] | None = None) -> None:
        self.shape = shape
        self.layers: list[Layer] = [] if layers is None else layers
        self._activation = _Activation()

    @property
    def elements(self) -> int:
        """Elements of the output, per sample."""
        return prod(self.shape)

    def fork(self) -> "Stack":
        """Return a branch: a stack that starts at this output and appends to the same layers."""
        branch = Stack(self.shape, self.layers)
        branch._activation = self._activation
        return branch

    def concatenate(self, name: str, branches: Sequence["Stack"]) -> None:
        """Concatenate *branches* along the channels: one copy forward, one copy backward."""
        channels = sum(branch.shape[0] for branch in branches)
        self._start((channels, *branches[0].shape[1:]))
        self.layers.append(self._passes(name, "elementwise", (2, 2), saved=0.0))

    def select(self, name: str, tokens: int) -> None:
        """Gather *tokens* of the tokens, such as the masked ones, by a copy."""
        self._start((tokens, self.shape[-1]))
        self.layers.append(self._passes(name, "lookup", (2, 2), saved=0.0))

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
        """Add a convolution, which saves its input; the first layer of a network computes no input gradient."""
        height, width = _pair(kernel)
        pad_height, pad_width = _pair(padding)
        inputs, rows, columns = self.shape
        rows_out = (rows + 2 * pad_height - height) // stride + 1
        columns_out = (columns + 2 * pad_width - width) // stride + 1
        weights = channels * (inputs // groups) * height * width
        shape = (channels, rows_out, columns_out)
        layer = self._product(
            name,
            "convolution",
            flops=2.0 * weights * rows_out * columns_out,
            moved=float(self.elements + prod(shape)),
            tensors=_weight_and_bias(name, weights, channels if bias else 0),
        )
        square = stride == 1 and is_square((height, width), (inputs, channels), groups)
        self._append(replace(layer, channels=(inputs // groups, channels // groups), square=square), shape)

    def linear(self, name: str, features: int, *, bias: bool = True, tied: bool = False) -> None:
        """Add a fully connected layer, which saves its input; it maps the last dimension, or a flattened image.

        A *tied* layer shares the weight of another layer; its gradient is ready after that layer's backward.
        """
        tokens, inputs = self.shape if len(self.shape) == 2 else (1, self.elements)
        layer = self._product(
            name,
            "linear",
            flops=2.0 * tokens * inputs * features,
            moved=float(tokens * (inputs + features)),
            tensors=_weight_and_bias(name, 0 if tied else inputs * features, features if bias else 0),
        )
        self._append(layer, (tokens, features))

    def product(
        self, name: str, flops: float, elements: float, saved: float, shape: tuple[int, ...] | None = None
    ) -> None:
        """Add a batched matrix product without weights, such as attention's.

        *flops*, *elements* (read and written forward) and *saved* elements are per sample. A *shape* of None keeps the
        current shape.
        """
        layer = Layer(name, "product", flops, 2 * flops, elements, 2 * elements, saved, kernels=(1, 2))
        self._append(layer, self.shape if shape is None else shape)

    def batch_norm(self, name: str) -> None:
        """Add batch normalisation, which saves its input: three passes over it forward, five backward."""
        self._normalise(name, self.shape[0], (3, 5))

    def layer_norm(self, name: str) -> None:
        """Add layer normalisation over the last dimension: three passes forward, five backward."""
        self._normalise(name, self.shape[-1], (3, 5))

    def relu(self, name: str) -> None:
        """Add a ReLU: two passes forward, three backward.

        It works in place and saves its output, the tensor that the next layer would save as its input.
        """
        self._elementwise(name, (2, 3), saved=float(self.elements), keeps_output=True)

    def add(self, name: str) -> None:
        """Add the sum with a shortcut: three passes forward, one backward, nothing saved."""
        self._elementwise(name, (3, 1), saved=0.0)

    def activation(self, name: str) -> None:
        """Add an activation such as GELU that saves its input: two passes forward, three backward."""
        self._elementwise(name, (2, 3), saved=self._keep())

    def dropout(self, name: str) -> None:
        """Add dropout: two passes forward, two backward; saves a mask of one byte per element, a quarter of fp32."""
        self._elementwise(name, (2, 2), saved=0.25 * self.elements)

    def local_response_norm(self, name: str) -> None:
        """Add local response normalisation, which saves its input and scale: four passes forward, six backward."""
        self._append(self._passes(name, "normalisation", (4, 6), saved=self._keep() + self.elements), self.shape)

    def softmax(self, name: str, elements: float) -> None:
        """Add a softmax over *elements* per sample, which saves its output: two passes forward, three backward."""
        layer = Layer(name, "elementwise", 0.0, 0.0, 2 * elements, 3 * elements, elements)
        self._append(layer, self.shape, keeps_output=True)

    def max_pool(self, name: str, kernel: int, *, stride: int, padding: int = 0, ceil: bool = False) -> None:
        """Add max pooling, which saves its input; the indices that PyTorch also saves are ignored."""
        before, saved = self.elements, self._keep()
        shape = self._pooled_shape(kernel, stride, padding, ceil=ceil)
        moved = float(before + prod(shape))
        self._append(Layer(name, "pooling", 0.0, 0.0, moved, moved + before, saved), shape)

    def average_pool(self, name: str, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        """Add average pooling, which saves nothing: its backward needs only shapes."""
        shape = self._pooled_shape(kernel, stride, padding, ceil=False)
        moved = float(self.elements + prod(shape))
        self._append(Layer(name, "pooling", 0.0, 0.0, moved, moved, 0.0), shape)

    def global_average_pool(self, name: str) -> None:
        """Add the average over height and width."""
        channels = self.shape[0]
        moved = float(self.elements + channels)
        self._append(Layer(name, "pooling", 0.0, 0.0, moved, moved, 0.0), (channels, 1, 1))

    def embedding(self, name: str, rows: int, features: int, tokens: int) -> None:
        """Add an embedding table of *rows* x *features*; each sample looks up *tokens* rows; gradients are dense."""
        moved = 2.0 * tokens * features
        weight = Tensor(f"{name}.weight", rows * features)
        self._append(Layer(name, "lookup", 0.0, 0.0, moved, moved, 0.0, (weight,)), (tokens, features))

    def build(self, name: str, *, source: str, input_bytes: float, samples: int, validation_samples: int) -> Workload:
        """Return the workload of these layers.

        *input_bytes* is the size of one sample; *samples* and *validation_samples* are the sizes of the data set.
        """
        return Workload(name, tuple(self.layers), source, input_bytes, samples, validation_samples)

    def _append(self, layer: Layer, shape: tuple[int, ...], *, keeps_output: bool = False) -> None:
        self.layers.append(layer)
        self._start(shape, kept=keeps_output)

    def _start(self, shape: tuple[int, ...], *, kept: bool = False) -> None:
        """Replace the output by a new activation of *shape*."""
        self.shape = shape
        self._activation = _Activation(kept)

    def _keep(self) -> float:
        """Return the elements that this layer must save to have its input in backward; 0 if already saved."""
        elements = 0.0 if self._activation.kept else float(self.elements)
        self._activation.kept = True
        return elements

    def _product(self, name: str, kind: str, *, flops: float, moved: float, tensors: tuple[Tensor, ...]) -> Layer:
        """Return a layer that multiplies its input by weights; backward repeats it for each of the two gradients."""
        kernels = 1 if not self.layers else 2
        return Layer(name, kind, flops, kernels * flops, moved, 2 * moved, self._keep(), tensors, kernels=(1, kernels))

    def _normalise(self, name: str, features: int, passes: tuple[int, int]) -> None:
        scale = Tensor(f"{name}.weight", features, adapted=False)
        shift = Tensor(f"{name}.bias", features, adapted=False)
        layer = self._passes(name, "normalisation", passes, saved=self._keep())
        self._append(replace(layer, tensors=(scale, shift)), self.shape)

    def _elementwise(self, name: str, passes: tuple[int, int], saved: float, *, keeps_output: bool = False) -> None:
        layer = self._passes(name, "elementwise", passes, saved)
        self._append(replace(layer, fusible=True), self.shape, keeps_output=keeps_output)

    def _passes(self, name: str, kind: str, passes: tuple[int, int], saved: float) -> Layer:
        size = float(self.elements)
        return Layer(name, kind, 0.0, 0.0, passes[0] * size, passes[1] * size, saved)

    def _pooled_shape(self, kernel: int, stride: int, padding: int, *, ceil: bool) -> tuple[int, ...]:
        channels, rows, columns = self.shape
        return (channels, *(_pooled(size, kernel, stride, padding, ceil=ceil) for size in (rows, columns)))


def _weight_and_bias(name: str, weights: int, biases: int) -> tuple[Tensor, ...]:
    """Return the weight and the bias, without those that have no elements."""
    tensors = (Tensor(f"{name}.weight", weights), Tensor(f"{name}.bias", biases, adapted=False))
    return tuple(tensor for tensor in tensors if tensor.elements)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _pooled(size: int, kernel: int, stride: int, padding: int, *, ceil: bool) -> int:
    """Return the size after pooling; with *ceil*, a window must start inside the image or its left padding."""
    room = size + 2 * padding - kernel
    windows = (-(-room // stride) if ceil else room // stride) + 1
    return windows - 1 if (windows - 1) * stride >= size + padding else windows
