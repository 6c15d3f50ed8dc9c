"""Explanation of a prediction: causes of the time lost in a step, and the gain of single changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.plan import Plan
from lbsim.scenario.scenario import Anchor, Scenario, override
from lbsim.simulation.prediction import Prediction

__all__ = ["Cause", "Explanation", "Lever", "explain"]

_ALGORITHMS = ("ring", "hierarchical", "two-level", "halving-doubling", "auto")
_UNLIMITED = 1e30
"""Bandwidth of a link that never limits, bytes per second."""
_LINKS = ("cluster.intra_node", "cluster.inter_node")
_Overrides = dict[str, Any]
_WITHOUT: tuple[tuple[str, _Overrides], ...] = (
    (
        "latency",
        {f"{link}.latency": 0.0 for link in _LINKS}
        | {
            "software.library.per_step": 0.0,
            "software.library.per_step_inside": None,
            "software.library.per_collective": 0.0,
            "software.library.protocols": (),
            "plan.fusion_negotiation": 0.0,
        },
    ),
    ("bandwidth", {f"{link}.bandwidth": _UNLIMITED for link in _LINKS} | {"cluster.switches": ()}),
    ("stragglers", {"software.straggler_spread": 0.0, "cluster.slow": (), "cluster.node_spread": 0.0}),
    ("the limits of overlap", {"plan.gpus": 1}),
)
"""Causes in the order in which they are removed, each with the overrides that remove it."""


@dataclass(frozen=True)
class Cause:
    """A cause and the time that a step loses to it."""

    name: str
    seconds: float
    """Seconds per step."""


@dataclass(frozen=True)
class Lever:
    """One change to the scenario and its predicted gain."""

    name: str
    changes: dict[str, Any]
    """Overrides by dotted path."""
    throughput: float
    """Samples per second over all GPUs with the change."""
    gain: float
    """Relative increase of the throughput."""


@dataclass(frozen=True)
class Explanation:
    """Causes and levers of one prediction."""

    prediction: Prediction
    causes: tuple[Cause, ...]
    """Compute first; their seconds add up to the step time."""
    levers: tuple[Lever, ...]
    """Changes by decreasing gain."""

    @property
    def sentence(self) -> str:
        """Summary for users: efficiency, largest loss, and best change."""
        gpus, step = self.prediction.scenario.plan.gpus, self.prediction.step_time
        lost = max(self.causes[1:], key=lambda cause: cause.seconds)
        best = self.levers[0] if self.levers and self.levers[0].gain > 0 else None
        advice = f"; the best change is {best.name}, {best.gain:+.0%}" if best else "; no single change helps"
        return (
            f"Scaling efficiency is {self.prediction.scaling_efficiency:.0%} on {gpus:,} GPU{'s' if gpus > 1 else ''}: "
            f"the step loses most, {lost.seconds / step:.0%}, to {lost.name}{advice}."
        )


def explain(scenario: Scenario) -> Explanation:
    """Return the causes of the step time of *scenario*, and the gains of single changes.

    Causes are removed one after another, each in a new prediction; the decrease of the step time is assigned to the
    cause: latency (of links and library), bandwidth, stragglers, and the remaining limits of overlap (compute slowed by
    communication, copies, constants). The rest is the step of one GPU. So the parts add up exactly; another order would
    assign slightly different times.
    """
    scenario = _anchored_on_one_gpu(scenario)
    prediction = predict(scenario)
    return Explanation(prediction, tuple(_causes(scenario, prediction)), tuple(_levers(scenario, prediction)))


def _anchored_on_one_gpu(scenario: Scenario) -> Scenario:
    """Return *scenario* with an anchor of several GPUs replaced by one of one GPU, which no link affects."""
    if scenario.anchor is None or scenario.anchor.gpus == 1:
        return scenario
    single = predict(override(scenario, {"plan.gpus": 1, "cluster.slow": ()}))
    anchor = Anchor(throughput=single.throughput, batch_per_gpu=scenario.plan.batch_per_gpu)
    return scenario.model_copy(update={"anchor": anchor})


def _causes(scenario: Scenario, prediction: Prediction) -> Iterator[Cause]:
    before, lost = prediction, []
    for name, overrides in _WITHOUT:
        scenario = override(scenario, overrides)
        after = predict(scenario)
        lost.append(Cause(name, before.step_time - after.step_time))
        before = after
    single = before.breakdown
    yield Cause("compute", single.forward + single.backward)
    yield from lost
    yield Cause("update", single.update)
    yield Cause("input", single.input)


def _levers(scenario: Scenario, prediction: Prediction) -> list[Lever]:
    levers = []
    for name, changes in (*_hardware_changes(scenario), *_plan_changes(scenario.plan), *_batch_changes(scenario)):
        try:
            throughput = predict(override(scenario, changes)).throughput
        except InputError:
            continue  # not possible here: the batch does not fit, or the GPUs do not fill the groups
        levers.append(Lever(name, changes, throughput, throughput / prediction.throughput - 1))
    return sorted(levers, key=lambda lever: -lever.gain)


def _hardware_changes(scenario: Scenario) -> Iterator[tuple[str, _Overrides]]:
    between, inside = scenario.cluster.inter_node, scenario.cluster.intra_node
    yield "a network twice as fast", {"cluster.inter_node.bandwidth": 2 * between.bandwidth}
    yield "half the network's latency", {"cluster.inter_node.latency": between.latency / 2}
    yield "links in the node twice as fast", {"cluster.intra_node.bandwidth": 2 * inside.bandwidth}


def _plan_changes(plan: Plan) -> Iterator[tuple[str, _Overrides]]:
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


def _batch_changes(scenario: Scenario) -> Iterator[tuple[str, _Overrides]]:
    plan, spread = scenario.plan, scenario.software.straggler_spread
    yield f"batch {2 * plan.batch_per_gpu} a GPU", {"plan.batch_per_gpu": 2 * plan.batch_per_gpu}
    yield "ranks that vary half as much", {"software.straggler_spread": spread / 2}
    if plan.precision == "fp32":
        yield "mixed precision", {"plan.precision": "mixed"}
