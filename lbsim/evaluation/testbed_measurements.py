"""Testbed measurements: all-reduces and steps on network namespaces, by testbed setup.

Written by `reports/testbed/measure.py`. The fit of `lbsim.evaluation.testbed_model` uses Gloo's ring and the steps of
two plans, on 2 and 4 hosts, at two of the three link rates.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lbsim.compute.gradients import ComputeTimes, GradientTensor
from lbsim.errors import InputError
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.trace import RankTimeline, Setting, Trace, TraceEntry, read_trace
from lbsim.measurements.trace_timeline import timelines_of

__all__ = [
    "FITTED_HOSTS",
    "FITTED_PLANS",
    "HELD_OUT_RATE",
    "SMALL",
    "TestbedMeasurements",
    "TestbedSetup",
    "read_measurements",
    "replayed_steps",
]

FITTED_HOSTS = (2, 4)
HELD_OUT_RATE = 10e6
"""Bytes per second of each link, 80 Mb/s, at which nothing is fitted."""
FITTED_PLANS = (("one-buffer", False), ("threshold", True))
"""Fusion policy and overlap of the steps that are fitted."""
SMALL = 256 * 1024.0
"""Bytes below which a message is in a class of its own: its time is spent in the processors, not in the links."""
_COMPUTE = "compute.json"
_WARM_UP = 2
"""Recorded steps that are not replayed."""
_ALL_REDUCE_SETTINGS = {"all_reduce", "message"}
_STEP_SETTINGS = {"all_reduce", "fusion", "overlap", "fusion_threshold", "hybrid_threshold"}
"""Settings that each trace entry must have."""


@dataclass(frozen=True)
class TestbedSetup:
    """Conditions of one testbed measurement: an all-reduce, or the steps of one plan."""

    __test__ = False  # no test, whatever pytest makes of the name

    quantity: str
    """``all_reduce`` or ``step_time``."""
    hosts: int
    rate: float
    """Bytes per second of each host's link, in each direction."""
    settings: tuple[tuple[str, Setting], ...]
    """Settings of the trace entry, in SI units."""

    @property
    def options(self) -> dict[str, Setting]:
        """Settings by name."""
        return dict(self.settings)

    @property
    def label(self) -> str:
        """Short name for tables."""
        options = self.options
        if self.quantity == "all_reduce":
            return f"{options['all_reduce']} {float(options['message'] or 0) / 1024:.0f} KiB"
        return f"{options['fusion']}{'' if options['overlap'] else ', no overlap'}, {options['all_reduce']}"

    @property
    def group(self) -> str:
        """Class in which the error is counted."""
        if self.quantity == "all_reduce":
            small = float(self.options["message"] or 0) < SMALL
            return "all-reduce, less" if small else "all-reduce, 256 KiB and more"
        return "steps without fusion" if self.options["fusion"] == "none" else "steps"

    @property
    def fitted(self) -> bool:
        """Whether the model is fitted to measurements of this setup."""
        options = self.options
        if self.hosts not in FITTED_HOSTS or self.rate == HELD_OUT_RATE or options["all_reduce"] != "backend":
            return False
        return self.quantity == "all_reduce" or (options["fusion"], options["overlap"]) in FITTED_PLANS


TestbedMeasurements = Mapping[TestbedSetup, Measurement]
"""Median seconds of each setup; of steps, the median of the slowest rank's."""


def read_measurements(folder: Path) -> dict[TestbedSetup, Measurement]:
    """Return the measurements of the traces in *folder*; InputError if one is of no testbed, or repeats a setup."""
    found: dict[TestbedSetup, Measurement] = {}
    for file in sorted(folder.glob("*x*.json")):
        trace = read_trace(file)
        _check(trace, file)
        for entry, samples in _all_reduces(trace) if trace.measured == "all-reduce" else _steps(trace):
            setup = TestbedSetup(
                entry.quantity, trace.gpus, float(trace.settings["bandwidth"] or 0), tuple(entry.settings.items())
            )
            if setup in found:
                raise InputError(f"{file}: {setup.label} on {setup.hosts} hosts is in another trace too; remove one")
            extremes = min(samples), max(samples)
            found[setup] = Measurement(entry.quantity, median(samples), str(file), extremes=extremes)
    return found


def _check(trace: Trace, file: Path) -> None:
    """Raise InputError for a trace that was not measured on a testbed."""
    if not isinstance(trace.settings.get("bandwidth"), float | int):
        raise InputError(f"{file}: settings.bandwidth: no rate in bytes per second; was it measured on a testbed?")
    needed = _ALL_REDUCE_SETTINGS if trace.measured == "all-reduce" else _STEP_SETTINGS
    for number, entry in enumerate(trace.observations):
        missing = needed - set(entry.settings)
        if missing:
            raise InputError(f"{file}: observations.{number}.settings: no '{min(missing)}'; measure it again")


def _all_reduces(trace: Trace) -> Iterator[tuple[TraceEntry, list[float]]]:
    return ((entry, list(entry.samples)) for entry in trace.observations)


def _steps(trace: Trace) -> Iterator[tuple[TraceEntry, list[float]]]:
    """Yield one rank's entry for each plan, with the slowest rank's time of each step."""
    plans: dict[tuple[tuple[str, Setting], ...], list[TraceEntry]] = {}
    for entry in trace.observations:
        plans.setdefault(tuple(entry.settings.items()), []).append(entry)
    for ranks in plans.values():
        yield ranks[0], [max(samples) for samples in zip(*(rank.samples for rank in ranks), strict=True)]


def replayed_steps(folder: Path) -> tuple[ComputeTimes, ...]:
    """Return the compute times of the steps in *folder* that the hosts replayed, without the warm-up."""
    recorded = timelines_of(read_trace(folder / _COMPUTE), 0)
    return tuple(_times(timeline) for timeline in recorded[_WARM_UP:])


def _times(timeline: RankTimeline) -> ComputeTimes:
    forward, latest, gradients = timeline.marks["forward"], 0.0, []
    for number, gradient in zip(range(len(timeline.gradients), 0, -1), timeline.gradients, strict=True):
        latest = max(latest, (gradient.ready or 0.0) - forward)
        gradients.append(GradientTensor(gradient.name, number, gradient.elements, latest))
    update = timeline.marks["step"] - timeline.marks["all_reduce"]
    return ComputeTimes(forward, latest, update, 0.0, tuple(gradients))
