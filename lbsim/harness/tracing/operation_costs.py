"""Cost rules of torch's operations, with the memory passes that `lbsim.workload.builder.Stack` counts.

Every operation is one kernel, those of attention too, as in the models that lbsim was calibrated on.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import torch

from lbsim.harness.tracing.dispatch_recorder import CostRule, OperationCall
from lbsim.workload.builder import is_square
from lbsim.workload.layers import Layer


def convolution(call: OperationCall) -> Iterator[Layer]:
    """Count a convolution: each weight is used at each position of the output, of the input if transposed."""
    weight, images = call.arguments["weight"], call.arguments["input"]
    transposed = "transpose" in call.name or call.arguments.get("transposed", False)
    positions = prod((images if transposed else call.output).shape[2:])
    groups, kernel = call.arguments["groups"], tuple(weight.shape[2:])
    channels = (images.shape[1], call.output.shape[1])
    strides = {*_numbers(call.arguments["stride"]), *_numbers(call.arguments["dilation"])}
    layer = _weighted(call, "convolution", images, weight, 2.0 * weight.numel() * positions)
    square = strides == {1} and not transposed and is_square(kernel, channels, groups)
    yield replace(layer, channels=(channels[0] // groups, channels[1] // groups), square=square)


def linear(call: OperationCall) -> Iterator[Layer]:
    """Count a fully connected layer, on the last dimension."""
    inputs, weight = call.arguments["input"], call.arguments["weight"]
    yield _weighted(call, "linear", inputs, weight, 2.0 * call.size(inputs) * weight.shape[0])


def product(call: OperationCall) -> Iterator[Layer]:
    """Count a matrix product: a linear layer if one side is a parameter."""
    left, right = (call.arguments[name] for name in _factors(call.arguments))
    flops = 2.0 * call.size(call.output) * left.shape[-1]
    for inputs, weight in ((left, right), (right, left)):
        if call.parameter(weight):
            yield _weighted(call, "linear", inputs, weight, flops)
            return
    yield _unweighted(call, call.name, (left, right), call.size(call.output), flops)


def attention(call: OperationCall) -> Iterator[Layer]:
    """Count scores, mask, softmax, dropout and context, as separate kernels."""
    query, key, value = (call.arguments[name] for name in ("query", "key", "value"))
    scores = call.size(query) / query.shape[-1] * key.shape[-2]
    yield _unweighted(call, "scores", (query, key), scores, 2.0 * scores * query.shape[-1])
    back = call.needs_gradient
    if call.arguments["attn_mask"] is not None or call.arguments["is_causal"]:
        yield _passes("mask", scores, (3, back), fusible=True)
    yield _passes("softmax", scores, (2, 3 * back), saved=scores * back)
    context = _unweighted(call, "context", (value,), scores, 2.0 * scores * value.shape[-1], factors=2)
    moved = scores + call.size(value) + call.size(call.output)
    context = replace(context, forward_elements=moved, backward_elements=2 * moved * back)
    if call.arguments["dropout_p"]:
        yield _passes("probabilities.dropout", scores, (2, 2 * back), saved=0.25 * scores * back, fusible=True)
        context = replace(context, saved_elements=context.saved_elements + scores * back)
    yield context


def normalisation(call: OperationCall) -> Iterator[Layer]:
    """Count three passes forward and five backward; the input is kept."""
    inputs = call.operands[0]
    layer = _passes(call.name, call.size(inputs), (3, 5 * call.needs_gradient), saved=call.keep(inputs))
    yield replace(layer, kind="normalisation")


def activation(call: OperationCall) -> Iterator[Layer]:
    """Count two passes forward and three backward; the input is kept, or the output of an in-place operation."""
    saved = call.keep_output() if call.in_place else call.keep(call.operands[0])
    yield _passes(call.name, call.size(call.output), (2, 3 * call.needs_gradient), saved=saved, fusible=True)


def activation_by_output(call: OperationCall) -> Iterator[Layer]:
    """Count two passes forward and three backward; the output is kept."""
    saved = call.keep_output()
    yield _passes(call.name, call.size(call.output), (2, 3 * call.needs_gradient), saved=saved, fusible=True)


def softmax(call: OperationCall) -> Iterator[Layer]:
    """Count as an activation whose output is kept; it is a reduction, so it is not fusible."""
    for layer in activation_by_output(call):
        yield replace(layer, fusible=False)


def dropout(call: OperationCall) -> Iterator[Layer]:
    """Count two passes forward and two backward, and a mask of one byte per element."""
    size, back = call.size(call.output), call.needs_gradient
    if call.arguments["train"] and call.arguments["p"]:
        yield _passes("dropout", size, (2, 2 * back), saved=0.25 * size * back, fusible=True)


def sum_of_two(call: OperationCall) -> Iterator[Layer]:
    """Count a pass to read each operand and one to write; one pass backward, none if the other is a number."""
    operands = len(call.operands)
    tensors = sum(isinstance(call.arguments.get(name), torch.Tensor) for name in ("self", "other"))
    back = call.needs_gradient and tensors > 1
    yield _passes(call.name, call.size(call.output), (operands + 1, back), fusible=True)


def product_of_two(call: OperationCall) -> Iterator[Layer]:
    """Count the passes; backward reads the gradient and the factors it needs, and writes each operand's gradient."""
    pair = [call.arguments["self"], call.arguments["other"]]
    both = [tensor for tensor in pair if isinstance(tensor, torch.Tensor)]
    operands, needed = call.operands, sum(call.gradient(tensor) for tensor in both)
    kept = [one for one, other in zip(pair, reversed(pair), strict=True) if _is_kept(call, one, other)]
    back = (1 + len(kept) + needed) * call.needs_gradient
    saved = sum(call.keep(tensor) for tensor in kept)
    yield _passes(call.name, call.size(call.output), (len(operands) + 1, back), saved=saved, fusible=True)


def max_pooling(call: OperationCall) -> Iterator[Layer]:
    """Count as pooling; the input is kept, which backward reads to find the maxima."""
    before = call.operands[0]
    for layer in pooling(call):
        again = (layer.backward_elements + call.size(before)) * call.needs_gradient
        yield replace(layer, backward_elements=again, saved_elements=call.keep(before))


def pooling(call: OperationCall) -> Iterator[Layer]:
    """Count a pass over input and output, and the same backward."""
    layer = _copied(call, call.size(call.operands[0]) + call.size(call.output))
    yield replace(layer, kind="pooling")


def lookup(call: OperationCall) -> Iterator[Layer]:
    """Count a copy of some rows of a table."""
    yield replace(_copied(call, 2 * call.size(call.output)), kind="lookup")


def copy(call: OperationCall) -> Iterator[Layer]:
    """Count the output as read and written, and the same backward."""
    yield _copied(call, 2 * call.size(call.output))


def cast(call: OperationCall) -> Iterator[Layer]:
    """Count an element-wise copy, which is fusible."""
    yield replace(_copied(call, 2 * call.size(call.output)), fusible=True)


def loss(call: OperationCall) -> Iterator[Layer]:
    """Count one number read per row; backward writes the gradient of all."""
    inputs, targets = call.arguments["self"], call.arguments["target"]
    picked = 2 * call.size(targets)
    layer = _copied(call, picked)
    yield replace(layer, kind="lookup", backward_elements=(picked + call.size(inputs)) * call.needs_gradient)


def other(call: OperationCall) -> Iterator[Layer]:
    """Count an operation without a rule: it reads inputs, writes outputs and keeps inputs that backward may need."""
    inputs, outputs = call.operands, sum(call.size(output) for output in call.outputs)
    needed = [tensor for tensor in inputs if call.gradient(tensor)]
    back = (outputs + 2 * sum(call.size(tensor) for tensor in needed)) * call.needs_gradient
    saved = 0.0 if call.in_place else sum(call.keep(tensor) for tensor in needed)
    forward = sum(call.size(tensor) for tensor in inputs) + outputs
    kernels = (1, int(call.needs_gradient))
    yield Layer(call.name, "elementwise", 0.0, 0.0, forward, back, saved, kernels=kernels)


def _weighted(call: OperationCall, kind: str, inputs: torch.Tensor, weight: torch.Tensor, flops: float) -> Layer:
    """Return a layer that multiplies by weights: backward, once for each operand whose gradient is needed."""
    needed = call.gradient(inputs) + call.gradient(weight)
    moved = call.size(inputs) + call.size(call.output)
    saved = call.keep(inputs) if call.gradient(weight) else 0.0
    return Layer(kind, kind, flops, needed * flops, moved, needed * moved, saved, kernels=(1, needed))


def _unweighted(
    call: OperationCall, name: str, sides: tuple[torch.Tensor, ...], result: float, flops: float, *, factors: int = 0
) -> Layer:
    """Return a product of activations, which keeps *sides*; *factors* is their number if not all are in *sides*."""
    needed = (factors or sum(call.gradient(side) for side in sides)) * call.needs_gradient
    moved = sum(call.size(side) for side in sides) + result
    saved = sum(call.keep(side) for side in sides)
    return Layer(name, "product", flops, needed * flops, moved, needed * moved, saved, kernels=(1, needed))


def _passes(name: str, size: float, passes: tuple[int, int], *, saved: float = 0.0, fusible: bool = False) -> Layer:
    kernels = (1, min(1, passes[1]))
    forward, backward = (count * size for count in passes)
    return Layer(name, "elementwise", 0.0, 0.0, forward, backward, saved, kernels=kernels, fusible=fusible)


def _copied(call: OperationCall, moved: float) -> Layer:
    back = call.needs_gradient
    return Layer(call.name, "elementwise", 0.0, 0.0, moved, moved * back, 0.0, kernels=(1, int(back)))


def _factors(arguments: Any) -> tuple[str, str]:
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"), ("self", "vec"), ("self", "other"))
    return next(pair for pair in (*pairs, ("self", "tensor")) if set(pair) <= set(arguments))


def _numbers(given: Any) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else tuple(given)


def _is_kept(call: OperationCall, one: object, other: object) -> bool:
    """Return whether the gradient of *other* needs *one*."""
    needed = isinstance(other, torch.Tensor) and call.gradient(other)
    return needed and any(one is operand for operand in call.operands)


_BY_KIND: dict[CostRule, str] = {
    convolution: "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution",
    linear: "linear",
    product: "matmul mm bmm addmm baddbmm addbmm mv dot",
    attention: "scaled_dot_product_attention",
    normalisation: "batch_norm layer_norm group_norm instance_norm rms_norm",
    activation: "gelu silu elu leaky_relu hardtanh hardswish hardsigmoid softplus mish prelu log_sigmoid_forward "
    "pow log log1p abs sin cos erf square",
    activation_by_output: "relu tanh sigmoid exp sqrt rsqrt reciprocal",
    softmax: "softmax log_softmax _softmax _log_softmax",
    dropout: "dropout alpha_dropout feature_dropout feature_alpha_dropout",
    sum_of_two: "add sub rsub",
    product_of_two: "mul div",
    max_pooling: "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
    "adaptive_max_pool2d adaptive_max_pool3d",
    pooling: "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d mean sum",
    lookup: "embedding gather index_select index take",
    copy: "cat stack clone constant_pad_nd repeat roll flip",
    cast: "_to_copy neg masked_fill",
    loss: "nll_loss_nd nll_loss nll_loss2d",
}

RULES: dict[str, CostRule] = {name: rule for rule, names in _BY_KIND.items() for name in names.split()}
