"""Fit a testbed's links on 2 and 4 hosts, predict 8 and 16, another rate, and plans that were not fitted.

    python reports/testbed/fit.py

Fitted to `traces/testbed/`, all-reduces by Gloo's ring and steps by two plans, at two of the three rates: the share of
the links' rate, the latency of a ring's step, what a collective costs, and what a step costs. Everything else is
predicted: rows of `predicted.csv`, and the figure. Two models are compared:

- *as lbsim has it*: a ring's step takes latency + message / rate (`lbsim.collective.Fabric.step_time`);
- *pipelined*: Gloo cuts a step's message in two and sends the second half while the first one's latency runs, so a
  step takes the longer of message / rate and latency + half of it (gloo/allreduce.cc: two segments a rank). And where
  other hosts send than in the phase before, theirs are full token buckets, which are free: `lbsim.testbed.burst`;
- *pipelined, shared*: likewise, and latency is nothing but the work of the processors, which all hosts share: it grows
  as hosts / processors. This one was written after the small messages of 16 hosts had been seen.
"""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, median

import numpy as np
from scipy.optimize import least_squares

from lbsim.all_reduce import hierarchical, ring, two_level
from lbsim.collective import Collective, Fabric, Phase, closed_form
from lbsim.compute import ComputeTimes, GradientTensor
from lbsim.fusion import fuse
from lbsim.hardware import Link
from lbsim.plan import Plan
from lbsim.simulate import Step, Transfer, simulate
from lbsim.software import Library
from lbsim.testbed import FRAME, PAYLOAD, burst
from lbsim.trace import Observation, RankTimeline, Setting, Trace, read_trace, timelines_of

HERE = Path(__file__).parent
TRACES = HERE.parents[1] / "traces" / "testbed"
FITTED_HOSTS, LEFT_OUT_RATE = (2, 4), 10e6
"""Bytes a second: 80 Mb/s."""
FITTED_PLANS = (("one-buffer", False), ("threshold", True))
SMALL = 256 * 1024.0
"""Bytes; smaller messages are a class of their own, as their time is the processors', not the links'."""
WARM_UP = 2
PROCESSORS = 2
"""Of the machine that was measured."""
SOURCE = "lbsim testbed"
MODELS = (("as lbsim has it", False, False), ("pipelined", True, False), ("pipelined, shared", True, True))
"""Each with whether it is pipelined, and shares processors."""
PRIORS = {"efficiency": 0.99, "latency": 5e-4, "collective": 5e-4, "step": 2e-3}
"""Where the fit starts, and what it is drawn to, weakly; seconds but the first."""


@dataclass(frozen=True)
class Row:
    """One thing measured: an all-reduce, or the steps by one plan."""

    quantity: str
    hosts: int
    rate: float
    settings: tuple[tuple[str, Setting], ...]
    seconds: float
    """Median; of steps, of the slowest rank's."""
    low: float
    high: float

    @property
    def said(self) -> dict[str, Setting]:
        """What was chosen."""
        return dict(self.settings)

    @property
    def label(self) -> str:
        """In a word or two."""
        said = self.said
        if self.quantity == "all_reduce":
            return f"{said['all_reduce']} {float(said['message'] or 0) / 1024:.0f} KiB"
        return f"{said['fusion']}{'' if said['overlap'] else ', no overlap'}, {said['all_reduce']}"

    @property
    def group(self) -> str:
        """The class that its error is counted in."""
        if self.quantity == "all_reduce":
            return "all-reduce, 256 KiB and more" if float(self.said["message"] or 0) >= SMALL else "all-reduce, less"
        return "steps without fusion" if self.said["fusion"] == "none" else "steps"

    @property
    def fitted(self) -> bool:
        """Whether the fit sees it."""
        seen = self.hosts in FITTED_HOSTS and self.rate != LEFT_OUT_RATE and self.said["all_reduce"] == "backend"
        return seen and (self.quantity == "all_reduce" or (self.said["fusion"], self.said["overlap"]) in FITTED_PLANS)


def read() -> list[Row]:
    """Return what was measured."""
    rows: list[Row] = []
    for file in sorted(TRACES.glob("*x*.json")):
        trace = read_trace(file)
        rows += _of_all_reduces(trace) if trace.measured == "all-reduce" else _of_steps(trace)
    return rows


def _of_all_reduces(trace: Trace) -> Iterable[Row]:
    return (_row(trace, observation, observation.samples) for observation in trace.observations)


def _of_steps(trace: Trace) -> Iterable[Row]:
    plans: dict[tuple[tuple[str, Setting], ...], list[Observation]] = {}
    for observation in trace.observations:
        plans.setdefault(tuple(observation.settings.items()), []).append(observation)
    for ranks in plans.values():
        slowest = [max(samples) for samples in zip(*(rank.samples for rank in ranks), strict=True)]
        yield _row(trace, ranks[0], slowest)


def _row(trace: Trace, observation: Observation, samples: Iterable[float]) -> Row:
    times = sorted(samples)
    rate = float(trace.settings["bandwidth"] or 0)
    settings = tuple(observation.settings.items())
    return Row(observation.quantity, trace.gpus, rate, settings, median(times), times[0], times[-1])


@dataclass(frozen=True)
class Pipelined(Fabric):
    """A fabric on which a step's message travels in two segments."""

    def step_time(self, phase: Phase) -> float:
        """Return the longer of what the bytes take, and the latency with half of them."""
        bytes_alone = phase.message / (self.inter_node.efficiency * self.inter_node.bandwidth)
        return max(bytes_alone, self.inter_node.latency + bytes_alone / 2)


@dataclass(frozen=True)
class Model:
    """lbsim's own collectives, fusion and simulation, on the testbed as a cluster."""

    efficiency: float
    """Beside the share that frames leave to their payload."""
    latency: float
    collective: float
    step: float
    pipelined: bool
    shared: bool

    @classmethod
    def of(cls, values: np.ndarray, *, pipelined: bool, shared: bool) -> "Model":
        """Return the model at *values*, logarithms relative to the priors."""
        scaled = {
            name: prior * float(np.exp(value)) for (name, prior), value in zip(PRIORS.items(), values, strict=True)
        }
        return cls(**scaled | {"efficiency": min(1.0, scaled["efficiency"])}, pipelined=pipelined, shared=shared)

    def seconds(self, row: Row) -> float:
        """Return the predicted seconds of *row*."""
        if row.quantity == "all_reduce":
            return closed_form(*self._carried(float(row.said["message"] or 0), row))
        return median(self._step(times, row) for times in _compute())

    def _step(self, times: ComputeTimes, row: Row) -> float:
        said = row.said
        plan = Plan(
            gpus=row.hosts,
            communication_precision="fp32",
            fusion=str(said["fusion"]),
            fusion_threshold=float(said["fusion_threshold"] or 0),
        )
        gradients = times.gradients
        if not said["overlap"]:
            gradients = tuple(replace(gradient, ready=times.backward) for gradient in gradients)
        transfers = tuple(Transfer(b, *self._carried(b.message, row)) for b in fuse(gradients, plan))
        return simulate(Step(times, transfers, bool(said["overlap"]), overhead=self.step)).step_time

    def _carried(self, message: float, row: Row) -> tuple[Collective, Fabric]:
        name = str(row.said["all_reduce"])
        if name == "hybrid":
            name = "backend" if message >= float(row.said["hybrid_threshold"] or 0) else "hierarchical"
        fabric = self._fabric(row, 2 if name == "two-level" else 1)
        if name == "backend":
            return ring.all_reduce(message, fabric), fabric
        if name == "two-level":  # the harness's groups as nodes of two hosts, each with a link of its own
            return two_level.all_reduce(message, fabric), fabric
        collective = hierarchical.all_reduce(message, fabric)
        if self.pipelined:
            free = burst(row.rate)
            phases = (replace(p, message=max(0.0, p.message - free / p.steps)) for p in collective.phases)
            collective = replace(collective, phases=tuple(phases))
        return collective, fabric

    def _fabric(self, row: Row, hosts_per_node: int) -> Fabric:
        share = self.efficiency * PAYLOAD / FRAME
        latency = self.latency * row.hosts / PROCESSORS if self.shared else self.latency
        link = Link(name="veth", source=SOURCE, latency=latency, bandwidth=row.rate, efficiency=share)
        library = Library(name="gloo", source=SOURCE, per_collective=self.collective, per_step=0.0)
        kind = Pipelined if self.pipelined else Fabric
        return kind(row.hosts, hosts_per_node, link, link, hosts_per_node, library, 2)


@cache
def _compute() -> list[ComputeTimes]:
    """Return the steps that the hosts replayed after the warm-up."""
    recorded = timelines_of(read_trace(TRACES / "compute.json"), 0)
    return [_times(timeline) for timeline in recorded[WARM_UP:]]


def _times(timeline: RankTimeline) -> ComputeTimes:
    forward, latest, gradients = timeline.marks["forward"], 0.0, []
    for number, gradient in zip(range(len(timeline.gradients), 0, -1), timeline.gradients, strict=True):
        latest = max(latest, (gradient.ready or 0.0) - forward)
        gradients.append(GradientTensor(gradient.name, number, gradient.elements, latest))
    update = timeline.marks["step"] - timeline.marks["all_reduce"]
    return ComputeTimes(forward, latest, update, 0.0, tuple(gradients))


def fit(rows: list[Row], *, pipelined: bool, shared: bool) -> Model:
    """Return the model that fits *rows*, robustly and in log space, its values drawn to their priors."""

    def residuals(values: np.ndarray) -> np.ndarray:
        model = Model.of(values, pipelined=pipelined, shared=shared)
        errors = np.array([np.log(model.seconds(row) / row.seconds) for row in rows])
        return np.concatenate([errors / 0.02, values / np.log(10)])

    found = least_squares(residuals, np.zeros(len(PRIORS)), loss="soft_l1", diff_step=[1e-3])
    return Model.of(found.x, pipelined=pipelined, shared=shared)


def main() -> None:
    """Fit both models, and print and keep what they predict."""
    rows = read()
    known, unseen = [row for row in rows if row.fitted], [row for row in rows if not row.fitted]
    models = {name: fit(known, pipelined=pipelined, shared=shared) for name, pipelined, shared in MODELS}
    for name, model in models.items():
        print(
            f"{name}: {model.efficiency:.4f} of the rate for payload, latency {model.latency * 1e3:.3f} ms, "
            f"a collective {model.collective * 1e3:.3f} ms, a step {model.step * 1e3:.2f} ms"
        )
    predicted = {row: {name: model.seconds(row) for name, model in models.items()} for row in rows}
    for what, some in (("fitted", known), *_parts(unseen)):
        for group in sorted({row.group for row in some}):
            chosen = [row for row in some if row.group == group]
            told = "".join(f" | {_errors([predicted[row][name] / row.seconds for row in chosen])}" for name in models)
            print(f"| {what} | {group} | {len(chosen)}{told} |")
    _keep(predicted)
    if "--figure" in sys.argv:
        _draw({row: seconds["as lbsim has it"] for row, seconds in predicted.items() if not row.fitted})


def _parts(unseen: list[Row]) -> list[tuple[str, list[Row]]]:
    few = [row for row in unseen if row.hosts in FITTED_HOSTS]
    return [
        ("2 and 4 hosts, other rate, algorithm or plan", few),
        ("8 hosts", [row for row in unseen if row.hosts == 8]),
        ("16 hosts, 40 Mb/s", [row for row in unseen if row.hosts == 16 and row.rate < LEFT_OUT_RATE]),
        ("16 hosts, 80 and 120 Mb/s", [row for row in unseen if row.hosts == 16 and row.rate >= LEFT_OUT_RATE]),
    ]


def _errors(ratios: list[float]) -> str:
    errors = [abs(ratio - 1) for ratio in ratios]
    return f"{mean(errors):.1%} | {max(errors):.1%}"


def _keep(predicted: dict[Row, dict[str, float]]) -> None:
    with (HERE / "predicted.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = next(iter(predicted.values()))
        writer.writerow(["hosts", "bytes_per_second", "what", "class", "fitted", "measured", "low", "high", *names])
        for row, seconds in predicted.items():
            times = [f"{t:.6f}" for t in (row.seconds, row.low, row.high, *seconds.values())]
            writer.writerow([row.hosts, f"{row.rate:.0f}", row.label, row.group, int(row.fitted), *times])


def _draw(predicted: dict[Row, float]) -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415 - the figure alone needs it

    figure, axes = plt.subplots(figsize=(7, 5))
    for group, marker in zip(sorted({row.group for row in predicted}), "osx^", strict=True):
        some = [(row.seconds, seconds / row.seconds) for row, seconds in predicted.items() if row.group == group]
        axes.plot(*zip(*some, strict=True), marker, markersize=4, label=group, fillstyle="none")
    axes.axhspan(0.92, 1.08, color="0.9", label="within 8 %")
    axes.set(xscale="log", yscale="log", xlabel="measured [s]", ylabel="predicted / measured", ylim=(0.1, 10))
    axes.set_title("Testbed, as lbsim has it: fitted on 2 and 4 hosts, predicted here")
    axes.legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(HERE / "predicted.png", dpi=120)


if __name__ == "__main__":
    main()
