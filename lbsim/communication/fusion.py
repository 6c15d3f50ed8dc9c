"""Tensor fusion: which gradients travel together."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lbsim.communication.optimal_fusion import Cost, mg_wfbp, optimal
from lbsim.compute.gradients import GRADIENT_BYTES, GradientTensor
from lbsim.errors import InputError
from lbsim.scenario.plan import Plan

Gradients = Sequence[GradientTensor]


@dataclass(frozen=True)
class FusionBuffer:
    """Gradients that travel as one message."""

    tensors: tuple[str, ...]
    message: float
    """Bytes."""
    ready: float
    """Seconds after backward starts, when the last of its gradients is ready."""
    delay: float = 0.0
    """Seconds from then until all ranks have agreed to send it."""


def fuse(gradients: Gradients, plan: Plan, cost: Cost | None = None, slowdown: float = 0.0) -> tuple[FusionBuffer, ...]:
    """Pack *gradients*, in the order in which they become ready, as the plan's fusion policy says.

    *cost* is what a message costs and *slowdown* the share by which compute takes longer while one travels; the
    policies that weigh them need to know.
    """
    element = GRADIENT_BYTES[plan.gradient_precision]
    return tuple(_buffer(group, element, plan) for group in _groups(gradients, plan, element, cost, slowdown))


def _groups(gradients: Gradients, plan: Plan, element: int, cost: Cost | None, slowdown: float) -> Iterable[Gradients]:
    if not gradients:
        return []
    if plan.fusion in {"mg-wfbp", "optimal"}:
        if cost is None:
            raise InputError(f"plan.fusion: {plan.fusion} needs to know what a message costs")
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
        delay = _tick(ready, plan.fusion_cycle) - ready + plan.gpus * plan.fusion_negotiation
    message = float(sum(gradient.elements for gradient in group) * element)
    return FusionBuffer(tuple(gradient.name for gradient in group), message, ready, delay)


def _filled(gradients: Gradients, element: int, first: float, threshold: float) -> Iterator[Gradients]:
    """Close a buffer as soon as it holds *threshold* bytes, the first at *first*; the last may hold less.

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
    """Send, at each tick, what became ready since the last one, in buffers of at most the threshold.

    A. Sergeev, M. Del Balso, "Horovod: fast and easy distributed deep learning in TensorFlow," arXiv:1802.05799:
    the coordinator wakes once a cycle, hears every rank and fuses what all have ready.
    """
    group: list[GradientTensor] = []
    held = 0
    for gradient in gradients:
        size = gradient.elements * element
        late = group and _tick(gradient.ready, plan.fusion_cycle) > _tick(group[-1].ready, plan.fusion_cycle)
        if group and (late or held + size > plan.fusion_threshold):
            yield group
            group, held = [], 0
        group.append(gradient)
        held += size
    yield group


def _tick(ready: float, cycle: float) -> float:
    """Return when the first cycle that ends at *ready* or later ends."""
    return math.ceil(ready / cycle) * cycle if cycle else ready


def _split(gradients: Gradients, cuts: Sequence[int]) -> Iterator[Gradients]:
    """Cut after the tensors that the plan names.

    The authors of arXiv:1807.11205 send ResNet-50 as two buffers, cut between "layers" 76 and 77, and AlexNet cut
    between 20 and 21: counted as tensors, 20 is where the convolutions of their AlexNet end.
    """
    for upper, lower in pairwise([float("inf"), *sorted(cuts, reverse=True), 0]):
        group = [gradient for gradient in gradients if lower < gradient.number <= upper]
        if group:
            yield group
