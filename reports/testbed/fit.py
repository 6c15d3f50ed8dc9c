"""Fit a testbed's links on 2 and 4 hosts, predict 8 and 16, another rate, and plans that were not fitted.

    python reports/testbed/fit.py

`lbsim/evaluation/testbed_measurements.py` says what is fitted; here are the rows of `predicted.csv`, the figure,
and three other models beside the first:

- *as lbsim has it*: a ring's step takes the longer of message / rate, and latency + half of it, for Gloo cuts a step's
  message in two and sends the second half while the first one's latency runs (gloo/allreduce.cc: two segments a rank;
  `lbsim.communication.fabric.Fabric.step_time`);
- *in one piece*: a ring's step takes latency + message / rate, as lbsim had it when this was first measured;
- *full buckets*: as lbsim has it, and where other hosts send than in the phase before, theirs are full token buckets,
  which are free: `lbsim.testbed.network.burst`;
- *full buckets, shared*: likewise, and latency is nothing but the work of the processors, which all hosts share: it
  grows as hosts / processors. This one was written after the small messages of 16 hosts had been seen.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric
from lbsim.evaluation.testbed_measurements import (
    FITTED_HOSTS,
    HELD_OUT_RATE,
    TestbedSetup,
    read_measurements,
    replayed_steps,
)
from lbsim.evaluation.testbed_model import Model, fit
from lbsim.measurements.measurement import Measurement
from lbsim.profiles.software import Library
from lbsim.testbed.network import burst

HERE = Path(__file__).parent
TRACES = HERE.parents[1] / "traces" / "testbed"
PROCESSORS = 2
"""Of the machine that was measured."""


class InOnePiece(Model):
    """Hosts whose messages travel whole."""

    def library(self) -> Library:
        """Return Gloo without its segments."""
        return super().library().model_copy(update={"segments": 1})


class FullBuckets(Model):
    """Hosts that find their buckets full when their turn to send comes."""

    def carried(self, message: float, setup: TestbedSetup) -> tuple[Collective, Fabric]:
        """Return what carries *message*; what the full buckets give is free."""
        collective, fabric = super().carried(message, setup)
        if collective.algorithm == "hierarchical":
            free = burst(setup.rate)
            phases = (replace(p, message=max(0.0, p.message - free / p.steps)) for p in collective.phases)
            collective = replace(collective, phases=tuple(phases))
        return collective, fabric


class Shared(FullBuckets):
    """Likewise, with a latency that is the work of processors that all hosts share."""

    def fabric(self, setup: TestbedSetup, hosts_per_node: int) -> Fabric:
        """Return the same links with the latency of so many hosts."""
        fabric = super().fabric(setup, hosts_per_node)
        link = fabric.inter_node.model_copy(update={"latency": self.latency * setup.hosts / PROCESSORS})
        return replace(fabric, inter_node=link, intra_node=link)


MODELS: dict[str, type[Model]] = {
    "as lbsim has it": Model,
    "in one piece": InOnePiece,
    "full buckets": FullBuckets,
    "full buckets, shared": Shared,
}


Rows = dict[TestbedSetup, Measurement]


def main() -> None:
    """Fit the models, and print and keep what they predict."""
    rows, computed = read_measurements(TRACES), replayed_steps(TRACES)
    known = {setup: one for setup, one in rows.items() if setup.fitted}
    unseen = {setup: one for setup, one in rows.items() if not setup.fitted}
    models = {name: fit(known, computed, kind) for name, kind in MODELS.items()}
    for name, model in models.items():
        print(
            f"{name}: {model.efficiency:.4f} of the rate for payload, latency {model.latency * 1e3:.3f} ms, "
            f"a collective {model.collective * 1e3:.3f} ms, a step {model.step * 1e3:.2f} ms"
        )
    predicted = {setup: {name: model.seconds(setup) for name, model in models.items()} for setup in rows}
    for what, some in (("fitted", list(known)), *_parts(list(unseen))):
        for group in sorted({setup.group for setup in some}):
            chosen = [setup for setup in some if setup.group == group]
            cells = "".join(f" | {_errors([predicted[s][name] / rows[s].value for s in chosen])}" for name in models)
            print(f"| {what} | {group} | {len(chosen)}{cells} |")
    _keep(rows, predicted)
    if "--figure" in sys.argv:
        _draw({setup: (rows[setup].value, predicted[setup]["as lbsim has it"]) for setup in unseen})


def _parts(unseen: list[TestbedSetup]) -> list[tuple[str, list[TestbedSetup]]]:
    most = [setup for setup in unseen if setup.hosts == 16]
    return [
        ("2 and 4 hosts, other rate, algorithm or plan", [setup for setup in unseen if setup.hosts in FITTED_HOSTS]),
        ("8 hosts", [setup for setup in unseen if setup.hosts == 8]),
        ("16 hosts, 40 Mb/s", [setup for setup in most if setup.rate < HELD_OUT_RATE]),
        ("16 hosts, 80 and 120 Mb/s", [setup for setup in most if setup.rate >= HELD_OUT_RATE]),
    ]


def _errors(ratios: list[float]) -> str:
    errors = [abs(ratio - 1) for ratio in ratios]
    return f"{mean(errors):.1%} | {max(errors):.1%}"


def _keep(rows: Rows, predicted: dict[TestbedSetup, dict[str, float]]) -> None:
    with (HERE / "predicted.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = next(iter(predicted.values()))
        writer.writerow(["hosts", "bytes_per_second", "what", "class", "fitted", "measured", "low", "high", *names])
        for setup, seconds in predicted.items():
            times = [f"{t:.6f}" for t in (rows[setup].value, *(rows[setup].extremes or ()), *seconds.values())]
            writer.writerow([setup.hosts, f"{setup.rate:.0f}", setup.label, setup.group, int(setup.fitted), *times])


def _draw(rows: dict[TestbedSetup, tuple[float, float]]) -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415 - the figure alone needs it

    figure, axes = plt.subplots(figsize=(7, 5))
    for group, marker in zip(sorted({setup.group for setup in rows}), "osx^", strict=True):
        some = [(seconds, predicted / seconds) for setup, (seconds, predicted) in rows.items() if setup.group == group]
        axes.plot(*zip(*some, strict=True), marker, markersize=4, label=group, fillstyle="none")
    axes.axhspan(0.92, 1.08, color="0.9", label="within 8 %")
    axes.set(xscale="log", yscale="log", xlabel="measured [s]", ylabel="predicted / measured", ylim=(0.1, 10))
    axes.set_title("Testbed, as lbsim has it: fitted on 2 and 4 hosts, predicted here")
    axes.legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(HERE / "predicted.png", dpi=120)


if __name__ == "__main__":
    main()
