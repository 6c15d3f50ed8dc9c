"""Where the efficiency of a scenario goes, and what each lever would be worth."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.scenario import Anchor, Scenario, override
from lbsim.simulation.prediction import Prediction

_ALGORITHMS = ("ring", "hierarchical", "two-level", "halving-doubling", "auto")
_LIMITLESS = 1e30
"""Bytes a second of a link that never limits."""


@dataclass(frozen=True)
class Cause:
    """What a step loses to one cause."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Lever:
    """One change, and what it would be worth: a rerun of the whole scenario."""

    name: str
    changes: dict[str, Any]
    throughput: float
    """Samples a second with the change."""
    gain: float
    """Share by which that is more than without."""


@dataclass(frozen=True)
class Explanation:
    """Why a scenario is no faster."""

    prediction: Prediction
    causes: tuple[Cause, ...]
    """From compute alone on; they add up to the step."""
    levers: tuple[Lever, ...]
    """The most worth first."""

    @property
    def sentence(self) -> str:
        """What a colleague would say."""
        gpus, step = self.prediction.scenario.plan.gpus, self.prediction.step_time
        lost = max(self.causes[1:], key=lambda cause: cause.seconds)
        best = self.levers[0] if self.levers and self.levers[0].gain > 0 else None
        advice = f"; what would help most is {best.name}, {best.gain:+.0%}" if best else "; no single change would help"
        could = f"what {gpus:,} GPU{'s' if gpus > 1 else ''} could do"
        return (
            f"{self.prediction.scaling_efficiency:.0%} of {could}: the step loses most, "
            f"{lost.seconds / step:.0%}, to {lost.name}{advice}."
        )


def explain(scenario: Scenario) -> Explanation:
    """Return where the step of *scenario* goes, cause by cause, and what levers are worth.

    Causes are taken away one after another, each in a rerun, and what the step gets shorter by is the cause's: latency
    (of links and library), bandwidth, stragglers, what is left of overlap's limits (compute slowed by communication,
    copies, constants). What remains is one GPU's own step. So the parts add up exactly; a different order would
    give each a little more or less.
    """
    scenario = _anchored_alone(scenario)
    prediction = predict(scenario)
    return Explanation(prediction, tuple(_causes(scenario, prediction)), tuple(_levers(scenario, prediction)))


def _anchored_alone(scenario: Scenario) -> Scenario:
    """Return *scenario* anchored at one GPU if it was at several, so that no link has a say in its compute."""
    if scenario.anchor is None or scenario.anchor.gpus == 1:
        return scenario
    alone = predict(override(scenario, {"plan.gpus": 1, "cluster.slow": ()}))
    anchor = Anchor(throughput=alone.throughput, batch_per_gpu=scenario.plan.batch_per_gpu)
    return scenario.model_copy(update={"anchor": anchor})


def _causes(scenario: Scenario, prediction: Prediction) -> Iterator[Cause]:
    links = ("cluster.intra_node", "cluster.inter_node")
    stages: tuple[tuple[str, dict[str, Any]], ...] = (
        (
            "latency",
            {f"{link}.latency": 0.0 for link in links}
            | {
                "software.library.per_step": 0.0,
                "software.library.per_step_inside": None,
                "software.library.per_collective": 0.0,
                "software.library.protocols": (),
                "plan.fusion_negotiation": 0.0,
            },
        ),
        ("bandwidth", {f"{link}.bandwidth": _LIMITLESS for link in links} | {"cluster.switches": ()}),
        ("stragglers", {"software.straggler_spread": 0.0, "cluster.slow": (), "cluster.node_spread": 0.0}),
        ("the limits of overlap", {"plan.gpus": 1}),
    )
    before, lost = prediction, []
    for name, changes in stages:
        scenario = override(scenario, changes)
        after = predict(scenario)
        lost.append(Cause(name, before.step_time - after.step_time))
        before = after
    alone = before.breakdown
    yield Cause("compute", alone.forward + alone.backward)
    yield from lost
    yield Cause("update", alone.update)
    yield Cause("input", alone.input)


def _levers(scenario: Scenario, prediction: Prediction) -> list[Lever]:
    levers = []
    for name, changes in _changes(scenario):
        try:
            throughput = predict(override(scenario, changes)).throughput
        except InputError:
            continue  # this lever cannot be pulled here: the batch does not fit, or the GPUs fill no groups
        levers.append(Lever(name, changes, throughput, throughput / prediction.throughput - 1))
    return sorted(levers, key=lambda lever: -lever.gain)


def _changes(scenario: Scenario) -> Iterator[tuple[str, dict[str, Any]]]:
    plan, cluster, software = scenario.plan, scenario.cluster, scenario.software
    yield "a network twice as fast", {"cluster.inter_node.bandwidth": 2 * cluster.inter_node.bandwidth}
    yield "half the network's latency", {"cluster.inter_node.latency": cluster.inter_node.latency / 2}
    yield "links in the node twice as fast", {"cluster.intra_node.bandwidth": 2 * cluster.intra_node.bandwidth}
    for name in _ALGORITHMS:
        if name != plan.all_reduce:
            yield f"{name} all-reduce", {"plan.all_reduce": name}
    if plan.gradient_precision == "fp32":
        yield "gradients in fp16", {"plan.communication_precision": "fp16"}
    if not plan.overlap:
        yield "overlap, in buffers of 25 MiB", {"plan.overlap": True, "plan.fusion": "threshold"}
    for fusion in ("one-buffer", "mg-wfbp"):
        if plan.fusion != fusion:
            yield f"fusion {fusion}", {"plan.fusion": fusion}
    yield f"batch {2 * plan.batch_per_gpu} a GPU", {"plan.batch_per_gpu": 2 * plan.batch_per_gpu}
    yield "ranks that vary half as much", {"software.straggler_spread": software.straggler_spread / 2}
    if plan.precision == "fp32":
        yield "mixed precision", {"plan.precision": "mixed"}
