"""Search for the plan with the highest throughput on a cluster, and its settings in PyTorch, Horovod and NCCL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.memory import check_fits
from lbsim.compute.roofline import compute_times
from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.profiles.module_catalog import module_names
from lbsim.scenario.plan import Plan
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.anchor import anchor_factor
from lbsim.simulation.prediction import Prediction
from lbsim.simulation.step_result import simulate_step

__all__ = ["PlanChanges", "Tuning", "plan_candidates", "tune"]

_MIB = 2.0**20
_THRESHOLDS = (1, 4, 8, 16, 25, 64, 128)
"""Fusion thresholds to try, MiB."""
_NO_ALL_REDUCE = {"parameter_server"}
"""Modules of ``lbsim/communication/all_reduce`` that need other machines, such as parameter servers."""
_NETWORK_VARIATIONS = (("bandwidth", 0.8), ("bandwidth", 1.25), ("latency", 0.5), ("latency", 2.0))
"""Fields of the network and the factors by which a network that was not measured may differ from its profile."""

_VARIABLE = re.compile(r"[A-Z_]+=")

PlanChanges = dict[str, Any]
"""Overrides of the plan by dotted path."""


@dataclass(frozen=True)
class Tuning:
    """Predictions with the given plan and with the best plan found."""

    before: Prediction
    after: Prediction
    changes: PlanChanges
    """PlanChanges to the plan; empty if no plan tried is faster."""
    tried: int
    """Number of plans simulated."""
    gain_low: float
    """Smallest relative gain in throughput over networks slightly faster and slower than the profile's."""
    gain_high: float
    """Largest relative gain over the same networks."""

    @property
    def gain(self) -> float:
        """Relative increase of the throughput."""
        return self.after.throughput / self.before.throughput - 1

    @property
    def environment(self) -> tuple[str, ...]:
        """Those of the settings that are environment variables, ``NAME=value``."""
        return tuple(setting for setting in self.settings if _VARIABLE.match(setting))

    @property
    def code(self) -> tuple[str, ...]:
        """Those of the settings that are Python, one statement each."""
        return tuple(setting for setting in self.settings if not _VARIABLE.match(setting))

    @property
    def settings(self) -> tuple[str, ...]:
        """Code and environment variables that set the plan in DistributedDataParallel, Horovod and NCCL."""
        return tuple(_settings(self.after.scenario.plan))


def tune(scenario: Scenario, most_batch: int | None = None) -> Tuning:
    """Return the fastest plan for *scenario* over all-reduces, group sizes, fusion policies and gradient precisions.

    Every combination is simulated. The batch per GPU stays, or becomes the largest doubling of it that fits in memory
    and is at most *most_batch*: a larger batch never has a lower throughput. Overlap stays as it is. InputError if the
    scenario is invalid.
    """
    before = predict(scenario)
    start = _with_larger_batch(scenario, most_batch)
    best, tried = _fastest(start)
    changes = _differences(scenario, override(start, best))
    after = predict(override(scenario, changes))
    variations = [_gain(_with_network(scenario, field, factor), changes) for field, factor in _NETWORK_VARIATIONS]
    gains = [*variations, after.throughput / before.throughput - 1]
    return Tuning(before, after, changes, tried, min(gains), max(gains))


def _fastest(scenario: Scenario) -> tuple[PlanChanges, int]:
    """Return the changes with the shortest step, empty if none is shorter, and the number of plans simulated."""
    times = compute_times(scenario)
    times = times.scaled(anchor_factor(scenario, times))
    best: PlanChanges = {}
    shortest, tried = _step_time(scenario, times), 1
    for changes in plan_candidates(scenario) if scenario.plan.gpus > 1 else ():
        try:
            step = _step_time(override(scenario, changes), times)
        except InputError:
            continue  # this all-reduce does not work with so many GPUs
        tried += 1
        if step < shortest:
            best, shortest = changes, step
    return best, tried


def _step_time(scenario: Scenario, times: ComputeTimes) -> float:
    return simulate_step(scenario, times, scenario.plan.gpus).timeline.step_time


def plan_candidates(scenario: Scenario) -> Iterator[PlanChanges]:
    """Yield every combination of settings to try."""
    plan = scenario.plan
    precisions = {plan.gradient_precision, "bf16" if plan.precision == "bf16" else "fp16"}
    for all_reduce in _all_reduces(scenario):
        for fusion in _fusions():
            for precision in sorted(precisions):
                yield all_reduce | fusion | {"plan.communication_precision": precision}


def _all_reduces(scenario: Scenario) -> Iterator[PlanChanges]:
    node = scenario.cluster.gpus_per_node
    for name in module_names("all_reduce"):
        if name in _NO_ALL_REDUCE:
            continue
        grouped = name in {"hierarchical", "hybrid"}
        sizes = [size for size in (node, 2 * node, 4 * node) if scenario.plan.gpus % size == 0] if grouped else [None]
        for size in sizes:
            yield {"plan.all_reduce": name.replace("_", "-"), "plan.group_size": size}


def _fusions() -> Iterator[PlanChanges]:
    yield {"plan.fusion": "one-buffer"}
    yield {"plan.fusion": "mg-wfbp"}
    for size in _THRESHOLDS:
        for fusion in ("threshold", "ddp"):
            yield {"plan.fusion": fusion, "plan.fusion_threshold": size * _MIB}


def _with_larger_batch(scenario: Scenario, most: int | None) -> Scenario:
    """Return *scenario* with the largest doubling of its batch that fits in memory and is at most *most*."""
    while most is not None and 2 * scenario.plan.batch_per_gpu <= most:
        larger = override(scenario, {"plan.batch_per_gpu": 2 * scenario.plan.batch_per_gpu})
        try:
            check_fits(larger)
        except InputError:
            break
        scenario = larger
    return scenario


def _differences(before: Scenario, after: Scenario) -> PlanChanges:
    """Return the fields of the plan that differ, by dotted path."""
    fields = {name: (getattr(before.plan, name), getattr(after.plan, name)) for name in Plan.model_fields}
    return {f"plan.{name}": new for name, (old, new) in fields.items() if old != new}


def _with_network(scenario: Scenario, field: str, factor: float) -> Scenario:
    """Return *scenario* with *field* of the network scaled by *factor*."""
    return override(scenario, {f"cluster.inter_node.{field}": getattr(scenario.cluster.inter_node, field) * factor})


def _gain(scenario: Scenario, changes: PlanChanges) -> float:
    return predict(override(scenario, changes)).throughput / predict(scenario).throughput - 1


def _settings(plan: Plan) -> Iterator[str]:
    yield from _fusion_settings(plan)
    if plan.communication_precision == "fp16":
        yield "hvd.DistributedOptimizer(optimizer, compression=hvd.Compression.fp16)"
        yield "from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook"
        yield "ddp.register_comm_hook(None, fp16_compress_hook)"
    if plan.all_reduce in {"hierarchical", "two-level"}:
        yield "HOROVOD_HIERARCHICAL_ALLREDUCE=1"
    algorithm = {"ring": "Ring", "double-binary-tree": "Tree"}.get(plan.all_reduce)
    if algorithm:
        yield f"NCCL_ALGO={algorithm}"


def _fusion_settings(plan: Plan) -> Iterator[str]:
    threshold = int(plan.fusion_threshold)
    if plan.fusion in {"threshold", "ddp", "horovod"}:
        yield f"HOROVOD_FUSION_THRESHOLD={threshold}"
        yield f"DistributedDataParallel(model, bucket_cap_mb={threshold / _MIB:g})"
    elif plan.fusion == "one-buffer":
        yield "DistributedDataParallel(model, bucket_cap_mb=1000000)"
