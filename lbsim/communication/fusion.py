"""Tensor fusion: policies that group gradients into fusion buffers."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lbsim.communication.optimal_fusion import Cost, mg_wfbp, optimal
from lbsim.compute.gradients import GRADIENT_BYTES, GradientTensor
from lbsim.errors import InputError
from lbsim.scenario.plan import Plan

__all__ = ["FusionBuffer", "Gradients", "fuse"]

Gradients = Sequence[GradientTensor]
"""Gradients in the order in which backward completes them."""


@dataclass(frozen=True)
class FusionBuffer:
    """Gradients that are sent as one message."""

    tensors: tuple[str, ...]
    """Names of the tensors."""
    message: float
    """Bytes of the message."""
    ready: float
    """Seconds from the start of backward until its last gradient is complete."""
    delay: float = 0.0
    """Seconds from *ready* until all ranks agree to send it."""


def fuse(gradients: Gradients, plan: Plan, cost: Cost | None = None, slowdown: float = 0.0) -> tuple[FusionBuffer, ...]:
    """Group *gradients* into fusion buffers by the plan's fusion policy.

    The policies ``mg-wfbp`` and ``optimal`` need *cost*, the seconds of a message as a function of its bytes;
    ``optimal`` also needs *slowdown*, the fraction by which compute takes longer while a message is sent.

    InputError if the policy needs a cost and none is given.
    """
    element = GRADIENT_BYTES[plan.gradient_precision]
    return tuple(_buffer(group, element, plan) for group in _groups(gradients, plan, element, cost, slowdown))


def _groups(gradients: Gradients, plan: Plan, element: int, cost: Cost | None, slowdown: float) -> Iterable[Gradients]:
    if not gradients:
        return []
    if plan.fusion in {"mg-wfbp", "optimal"}:
        if cost is None:
            raise InputError(f"plan.fusion: {plan.fusion} needs the cost of a message; pass cost")
        messages = [float(gradient.elements * element) for gradient in gradients]
        ready = [gradient.ready for gradient in gradients]
        if plan.fusion == "mg-wfbp":
            bounds = mg_wfbp(messages, ready, cost)
        else:
            bounds = optimal(messages, ready, cost, slowdown)
        return [gradients[start:end] for start, end in pairwise(bounds)]
    if plan.fusion in {"threshold", "ddp"}:
        first = plan.fusion_first if plan.fusion == "ddp" else plan.fusion_threshold
        return _filled(gradients, element, first, plan.fusion_threshold)
    if plan.fusion == "horovod":
        return _cycles(gradients, element, plan)
    if plan.fusion == "split":
        return _split(gradients, plan.fusion_split)
    return [gradients] if plan.fusion == "one-buffer" else [[gradient] for gradient in gradients]


def _buffer(group: Gradients, element: int, plan: Plan) -> FusionBuffer:
    ready = group[-1].ready
    delay = 0.0
    if plan.fusion == "horovod":
        delay = _cycle_end(ready, plan.fusion_cycle) - ready + plan.gpus * plan.fusion_negotiation
    message = float(sum(gradient.elements for gradient in group) * element)
    return FusionBuffer(tuple(gradient.name for gradient in group), message, ready, delay)


def _filled(gradients: Gradients, element: int, first: float, threshold: float) -> Iterator[Gradients]:
    """Close the first buffer at *first* bytes and each other one at *threshold* bytes; the last may be smaller.

    PyTorch's DistributedDataParallel closes the first at 1 MiB, so that communication starts early.
    """
    group: list[GradientTensor] = []
    held, limit = 0, first
    for gradient in gradients:
        group.append(gradient)
        held += gradient.elements * element
        if held >= limit:
            yield group
            group, held, limit = [], 0, threshold
    if group:
        yield group


def _cycles(gradients: Gradients, element: int, plan: Plan) -> Iterator[Gradients]:
    """Group the gradients of each coordinator cycle into buffers of at most the fusion threshold.

    A. Sergeev, M. Del Balso, "Horovod: fast and easy distributed deep learning in TensorFlow," arXiv:1802.05799:
    the coordinator wakes once per cycle, collects the requests of every rank and fuses the tensors that all have ready.
    """
    group: list[GradientTensor] = []
    held = 0
    for gradient in gradients:
        size = gradient.elements * element
        next_cycle = group and _cycle_end(gradient.ready, plan.fusion_cycle) > _cycle_end(
            group[-1].ready, plan.fusion_cycle
        )
        if group and (next_cycle or held + size > plan.fusion_threshold):
            yield group
            group, held = [], 0
        group.append(gradient)
        held += size
    yield group


def _cycle_end(ready: float, cycle: float) -> float:
    """Return the end, in seconds, of the first cycle that ends at or after *ready*."""
    return math.ceil(ready / cycle) * cycle if cycle else ready


def _split(gradients: Gradients, cuts: Sequence[int]) -> Iterator[Gradients]:
    """Split after the tensors with the numbers *cuts*.

    The authors of arXiv:1807.11205 send ResNet-50 as two buffers, split between "layers" 76 and 77, and AlexNet split
    between 20 and 21: counted as tensors, the convolutions of their AlexNet end at 20.
    """
    for upper, lower in pairwise([float("inf"), *sorted(cuts, reverse=True), 0]):
        group = [gradient for gradient in gradients if lower < gradient.number <= upper]
        if group:
            yield group
