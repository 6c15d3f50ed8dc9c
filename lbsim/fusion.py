"""Tensor fusion: which gradients travel together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lbsim.compute import GRADIENT_BYTES, GradientTensor
from lbsim.plan import Plan


@dataclass(frozen=True)
class FusionBuffer:
    """Gradients that travel as one message."""

    tensors: tuple[str, ...]
    message: float
    """Bytes."""
    ready: float
    """Seconds after backward starts, when the last of its gradients is ready."""


def fuse(gradients: Sequence[GradientTensor], plan: Plan) -> tuple[FusionBuffer, ...]:
    """Pack *gradients*, in the order in which they become ready, as the plan's fusion policy says."""
    element = GRADIENT_BYTES[plan.gradient_precision]
    groups = {"none": _each, "one-buffer": _all, "threshold": _threshold, "split": _split}[plan.fusion]
    return tuple(
        FusionBuffer(
            tensors=tuple(gradient.name for gradient in group),
            message=float(sum(gradient.elements for gradient in group) * element),
            ready=group[-1].ready,
        )
        for group in groups(gradients, plan)
    )


def _each(gradients: Sequence[GradientTensor], plan: Plan) -> Iterator[Sequence[GradientTensor]]:  # noqa: ARG001
    """Send each gradient by itself."""
    yield from ([gradient] for gradient in gradients)


def _all(gradients: Sequence[GradientTensor], plan: Plan) -> Iterator[Sequence[GradientTensor]]:  # noqa: ARG001
    """Send all gradients in one buffer."""
    if gradients:
        yield gradients


def _threshold(gradients: Sequence[GradientTensor], plan: Plan) -> Iterator[Sequence[GradientTensor]]:
    """Close a buffer as soon as it holds the threshold; the last may hold less."""
    element = GRADIENT_BYTES[plan.gradient_precision]
    group: list[GradientTensor] = []
    held = 0
    for gradient in gradients:
        group.append(gradient)
        held += gradient.elements * element
        if held >= plan.fusion_threshold:
            yield group
            group, held = [], 0
    if group:
        yield group


def _split(gradients: Sequence[GradientTensor], plan: Plan) -> Iterator[Sequence[GradientTensor]]:
    """Cut after the tensors that the plan names.

    The authors of arXiv:1807.11205 send ResNet-50 as two buffers, cut between "layers" 76 and 77, and AlexNet cut
    between 20 and 21: counted as tensors, 20 is where the convolutions of their AlexNet end.
    """
    cuts = sorted(plan.fusion_split, reverse=True)
    bounds = [float("inf"), *cuts, 0]
    for upper, lower in pairwise(bounds):
        group = [gradient for gradient in gradients if lower < gradient.number <= upper]
        if group:
            yield group
