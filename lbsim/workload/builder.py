"""Stack: builds a model layer by layer from its shapes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from lbsim.workload.layers import Layer, Tensor, Workload


@dataclass
class _Activation:
    """What a layer hands to the next; forks share it, so that it is kept for backward once."""

    kept: bool = False


_FEW_CHANNELS = 16
"""A group with fewer channels, as in depthwise convolutions, has kernels of its own."""


def is_square(kernel: tuple[int, ...], channels: tuple[int, int], groups: int = 1) -> bool:
    """Return whether Winograd's algorithm serves a convolution of stride 1, by its kernel and its channels in and out.

    >>> is_square((3, 3), (64, 64)), is_square((3, 3), (64, 64), groups=64)
    (True, False)
    """
    return kernel in {(3, 3), (5, 5)} and (groups == 1 or min(channels) // groups >= _FEW_CHANNELS)


class Stack:
    """Layers as they are stacked, with the shape that the next one gets.

    Shapes are ``(channels, height, width)`` or ``(tokens, features)``, per sample. A tensor that several layers need
    in backward counts once in their `Layer.saved_elements`: in the first that keeps it.

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
        """Of the activation that the next layer gets, per sample."""
        return prod(self.shape)

    def fork(self) -> "Stack":
        """Return a stack that starts at this activation and adds to the same layers: a branch."""
        branch = Stack(self.shape, self.layers)
        branch._activation = self._activation
        return branch

    def concatenate(self, name: str, branches: Sequence["Stack"]) -> None:
        """Join *branches* along the channels: one copy forward, and one back when each branch gets its share."""
        channels = sum(branch.shape[0] for branch in branches)
        self._start((channels, *branches[0].shape[1:]))
        self.layers.append(self._passes(name, "elementwise", (2, 2), saved=0.0))

    def select(self, name: str, tokens: int) -> None:
        """Go on with a copy of *tokens* of the tokens, such as the masked ones."""
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
        """Add a convolution, which keeps its input; a network's first layer computes no gradient of its input."""
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
        """Add a fully connected layer, which keeps its input; it works on the last dimension, or on all of an image.

        A *tied* one uses another layer's weight, whose gradient is then ready only after that layer's backward.
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
        """Add a batched matrix product without weights, such as attention's; the shape stays if none is given."""
        layer = Layer(name, "product", flops, 2 * flops, elements, 2 * elements, saved, kernels=(1, 2))
        self._append(layer, self.shape if shape is None else shape)

    def batch_norm(self, name: str) -> None:
        """Add batch normalisation, which keeps its input: three passes over it forward, five backward."""
        self._normalise(name, self.shape[0], (3, 5))

    def layer_norm(self, name: str) -> None:
        """Add layer normalisation over the last dimension: three passes forward, five backward."""
        self._normalise(name, self.shape[-1], (3, 5))

    def relu(self, name: str) -> None:
        """Add a ReLU: two passes forward, three backward.

        It works in place and keeps its output, which is the tensor that the next layer would keep as its input.
        """
        self._elementwise(name, (2, 3), saved=float(self.elements), keeps_output=True)

    def add(self, name: str) -> None:
        """Add the sum with a shortcut: three passes forward, one backward, nothing to keep."""
        self._elementwise(name, (3, 1), saved=0.0)

    def activation(self, name: str) -> None:
        """Add an activation such as GELU that keeps its input: two passes forward, three backward."""
        self._elementwise(name, (2, 3), saved=self._keep())

    def dropout(self, name: str) -> None:
        """Add dropout: two passes forward and two back, and a mask of a byte an element, a quarter of fp32."""
        self._elementwise(name, (2, 2), saved=0.25 * self.elements)

    def local_response_norm(self, name: str) -> None:
        """Add local response normalisation, which keeps its input and the scale: four passes forward, six back."""
        self._append(self._passes(name, "normalisation", (4, 6), saved=self._keep() + self.elements), self.shape)

    def softmax(self, name: str, elements: float) -> None:
        """Add a softmax over *elements* a sample, which keeps its output: two passes forward, three backward."""
        layer = Layer(name, "elementwise", 0.0, 0.0, 2 * elements, 3 * elements, elements)
        self._append(layer, self.shape, keeps_output=True)

    def max_pool(self, name: str, kernel: int, *, stride: int, padding: int = 0, ceil: bool = False) -> None:
        """Add max pooling, which keeps its input; that PyTorch keeps indices too is left out."""
        before, saved = self.elements, self._keep()
        shape = self._pooled_shape(kernel, stride, padding, ceil=ceil)
        moved = float(before + prod(shape))
        self._append(Layer(name, "pooling", 0.0, 0.0, moved, moved + before, saved), shape)

    def average_pool(self, name: str, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        """Add average pooling; its backward needs only shapes."""
        shape = self._pooled_shape(kernel, stride, padding, ceil=False)
        moved = float(self.elements + prod(shape))
        self._append(Layer(name, "pooling", 0.0, 0.0, moved, moved, 0.0), shape)

    def global_average_pool(self, name: str) -> None:
        """Add the average over height and width."""
        channels = self.shape[0]
        moved = float(self.elements + channels)
        self._append(Layer(name, "pooling", 0.0, 0.0, moved, moved, 0.0), (channels, 1, 1))

    def embedding(self, name: str, rows: int, features: int, tokens: int) -> None:
        """Add a table of *rows* embeddings of which each sample looks up *tokens*; gradients are dense."""
        moved = 2.0 * tokens * features
        weight = Tensor(f"{name}.weight", rows * features)
        self._append(Layer(name, "lookup", 0.0, 0.0, moved, moved, 0.0, (weight,)), (tokens, features))

    def build(self, name: str, *, source: str, input_bytes: float, samples: int, validation_samples: int) -> Workload:
        """Return the workload that these layers make."""
        return Workload(name, tuple(self.layers), source, input_bytes, samples, validation_samples)

    def _append(self, layer: Layer, shape: tuple[int, ...], *, keeps_output: bool = False) -> None:
        self.layers.append(layer)
        self._start(shape, kept=keeps_output)

    def _start(self, shape: tuple[int, ...], *, kept: bool = False) -> None:
        """Go on from a new activation."""
        self.shape = shape
        self._activation = _Activation(kept)

    def _keep(self) -> float:
        """Return the elements to keep so that backward has this layer's input: none if they are kept already."""
        elements = 0.0 if self._activation.kept else float(self.elements)
        self._activation.kept = True
        return elements

    def _product(self, name: str, kind: str, *, flops: float, moved: float, tensors: tuple[Tensor, ...]) -> Layer:
        """Return a layer that multiplies its input with weights: backward, once for each, at the same work."""
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
    """Return the tensors that exist."""
    tensors = (Tensor(f"{name}.weight", weights), Tensor(f"{name}.bias", biases, adapted=False))
    return tuple(tensor for tensor in tensors if tensor.elements)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _pooled(size: int, kernel: int, stride: int, padding: int, *, ceil: bool) -> int:
    """Return the size after pooling; rounded up, a window must still start inside the image or its left padding."""
    room = size + 2 * padding - kernel
    windows = (-(-room // stride) if ceil else room // stride) + 1
    return windows - 1 if (windows - 1) * stride >= size + padding else windows
