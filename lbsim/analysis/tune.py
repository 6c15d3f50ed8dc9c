"""The plan under which a model trains fastest on a cluster, and the settings that make it so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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

_MIB = 2.0**20
_THRESHOLDS = (1, 4, 8, 16, 25, 64, 128)
"""MiB."""
_NO_ALL_REDUCE = {"parameter_server"}
"""Files of ``lbsim/communication/all_reduce`` that need machines of another kind."""
_DOUBTS = (("bandwidth", 0.8), ("bandwidth", 1.25), ("latency", 0.5), ("latency", 2.0))
"""What a network not measured may have instead of what its profile says."""

Changes = dict[str, Any]


@dataclass(frozen=True)
class Tuning:
    """The best plan found, beside the one that was asked about."""

    before: Prediction
    after: Prediction
    changes: Changes
    """By dotted path; empty if nothing tried is faster."""
    tried: int
    gain_low: float
    """Least gain in throughput over networks a little faster and slower than the profile's."""
    gain_high: float

    @property
    def gain(self) -> float:
        """Share by which throughput rises."""
        return self.after.throughput / self.before.throughput - 1

    @property
    def settings(self) -> tuple[str, ...]:
        """Lines to paste for Horovod, DistributedDataParallel and NCCL, as far as they have a word for the plan."""
        return tuple(_settings(self.after.scenario.plan))


def tune(scenario: Scenario, most_batch: int | None = None) -> Tuning:
    """Return the quickest plan for *scenario* among all-reduces, group sizes, fusion policies and gradient precisions.

    Every combination is played. The batch a GPU stays, or is the largest doubling of it that fits and is no more than
    *most_batch*: a larger batch never trains fewer samples a second. What overlaps stays as it is. InputError if the
    scenario cannot run.
    """
    before = predict(scenario)
    start = _larger_batch(scenario, most_batch)
    times = compute_times(start)
    times = times.scaled(anchor_factor(start, times))
    best: Changes = {}
    quickest = simulate_step(start, times, start.plan.gpus).timeline.step_time
    tried = 1
    for changes in _choices(start) if start.plan.gpus > 1 else ():
        try:
            step = simulate_step(override(start, changes), times, start.plan.gpus).timeline.step_time
        except InputError:
            continue  # this all-reduce does not suit so many GPUs
        tried += 1
        if step < quickest:
            best, quickest = changes, step
    best = _differences(scenario, override(start, best))
    after = predict(override(scenario, best))
    gains = [_gain(_elsewhere(scenario, field, factor), best) for field, factor in _DOUBTS]
    own = after.throughput / before.throughput - 1
    return Tuning(before, after, best, tried, min([*gains, own]), max([*gains, own]))


def _choices(scenario: Scenario) -> Iterator[Changes]:
    plan = scenario.plan
    precisions = {plan.gradient_precision, "bf16" if plan.precision == "bf16" else "fp16"}
    for all_reduce in _all_reduces(scenario):
        for fusion in _fusions():
            for precision in sorted(precisions):
                yield all_reduce | fusion | {"plan.communication_precision": precision}


def _all_reduces(scenario: Scenario) -> Iterator[Changes]:
    node = scenario.cluster.gpus_per_node
    for name in module_names("all_reduce"):
        if name in _NO_ALL_REDUCE:
            continue
        grouped = name in {"hierarchical", "hybrid"}
        sizes = [size for size in (node, 2 * node, 4 * node) if scenario.plan.gpus % size == 0] if grouped else [None]
        for size in sizes:
            yield {"plan.all_reduce": name.replace("_", "-"), "plan.group_size": size}


def _fusions() -> Iterator[Changes]:
    yield {"plan.fusion": "one-buffer"}
    yield {"plan.fusion": "mg-wfbp"}
    for size in _THRESHOLDS:
        for fusion in ("threshold", "ddp"):
            yield {"plan.fusion": fusion, "plan.fusion_threshold": size * _MIB}


def _larger_batch(scenario: Scenario, most: int | None) -> Scenario:
    """Return *scenario* with the largest doubling of its batch that fits and is no more than *most*."""
    while most is not None and 2 * scenario.plan.batch_per_gpu <= most:
        larger = override(scenario, {"plan.batch_per_gpu": 2 * scenario.plan.batch_per_gpu})
        try:
            check_fits(larger)
        except InputError:
            break
        scenario = larger
    return scenario


def _differences(before: Scenario, after: Scenario) -> Changes:
    """Return what of the plan changed, by dotted path."""
    fields = {name: (getattr(before.plan, name), getattr(after.plan, name)) for name in Plan.model_fields}
    return {f"plan.{name}": new for name, (old, new) in fields.items() if old != new}


def _elsewhere(scenario: Scenario, field: str, factor: float) -> Scenario:
    """Return *scenario* on a network whose *field* is *factor* times the profile's."""
    return override(scenario, {f"cluster.inter_node.{field}": getattr(scenario.cluster.inter_node, field) * factor})


def _gain(scenario: Scenario, changes: Changes) -> float:
    return predict(override(scenario, changes)).throughput / predict(scenario).throughput - 1


def _settings(plan: Plan) -> Iterator[str]:
    threshold = int(plan.fusion_threshold)
    if plan.fusion in {"threshold", "ddp", "horovod"}:
        yield f"HOROVOD_FUSION_THRESHOLD={threshold}"
        yield f"DistributedDataParallel(model, bucket_cap_mb={threshold / _MIB:g})"
    elif plan.fusion == "one-buffer":
        yield "DistributedDataParallel(model, bucket_cap_mb=1000000)"
    if plan.communication_precision == "fp16":
        yield "hvd.DistributedOptimizer(optimizer, compression=hvd.Compression.fp16)"
        yield "from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook"
        yield "ddp.register_comm_hook(None, fp16_compress_hook)"
    if plan.all_reduce in {"hierarchical", "two-level"}:
        yield "HOROVOD_HIERARCHICAL_ALLREDUCE=1"
    algorithm = {"ring": "Ring", "double-binary-tree": "Tree"}.get(plan.all_reduce)
    if algorithm:
        yield f"NCCL_ALGO={algorithm}"
