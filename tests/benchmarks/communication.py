"""Time communication against what it must reach and against other simulators: python tests/benchmarks/communication.py

Each row runs in a process of its own, which prints the seconds of several runs after one to warm up, and its peak
memory. The peers' wall times are those of `tests/communication/oracles`, measured on 2 cores too. They are of whole
processes, so they are compared with the median inside a process and with a fresh one: start, imports and the first run.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lbsim import Scenario, override, predict
from lbsim.communication.all_reduce import ring
from lbsim.communication.fabric import closed_form
from lbsim.communication.optimal_fusion import optimal
from lbsim.compute.roofline import compute_times
from lbsim.simulation.step_simulator import simulate_schedule
from tests.communication.test_oracles import exposed_step, flat, rows

MESSAGE = 100 * 2.0**20
RING, STEP = "ring_all_reduce_100MiB.csv", "resnet50_step_exposed_communication.csv"

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One piece of work, and what it must reach."""

    prepare: Callable[[], Work]
    seconds: float
    """At most."""
    megabytes: float | None = None
    """At most, of the whole process."""
    repeats: int = 11
    calls: int = 1
    """Timed together, for work too short for a clock."""
    peers: tuple[tuple[str, dict[str, str]], ...] = ()
    """Rows of an oracle's file, by the text that their columns begin with."""


def one_all_reduce() -> Work:
    """Build a ring all-reduce over 1,024 ranks and take its closed form."""
    over = flat(1024)
    return lambda: closed_form(ring.all_reduce(MESSAGE, over), over)


def every_step(ranks: int) -> Callable[[], Work]:
    """Follow each of *ranks* ranks through each step of a ring, one by one."""

    def prepare() -> Work:
        import numpy as np  # noqa: PLC0415 - so that rows without it show what they need

        from lbsim.communication.rank_clocks import ring_steps  # noqa: PLC0415

        def work() -> None:
            over, clocks = flat(ranks), np.zeros((ranks, 1, 1))
            for phase in ring.all_reduce(MESSAGE, over).phases:
                clocks = ring_steps(clocks, np.array(over.step_time(phase)), phase.steps)

        return work

    return prepare


def events(buckets: str) -> Callable[[], Work]:
    """Play the oracles' ResNet-50 step over 1,024 ranks as events."""

    def prepare() -> Work:
        step, _ = exposed_step(buckets, 1024)
        return lambda: simulate_schedule(step)

    return prepare


def stragglers(changes: dict[str, str]) -> Callable[[], Work]:
    """Play 100 steps of ResNet-50 with the default plan, each of 1,024 ranks by itself."""

    def prepare() -> Work:
        from lbsim.simulation.per_rank import simulate_ranks  # noqa: PLC0415

        scenario = override(Scenario.of(gpus=1024, model="resnet50"), changes)
        return lambda: simulate_ranks(scenario, steps=100)

    return prepare


def optimal_fusion() -> Work:
    """Cut ResNet-50's 161 gradients into buffers that end soonest on a ring over 1,024 ranks."""
    scenario = Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32)
    gradients = compute_times(scenario).gradients
    messages, ready = [2.0 * gradient.elements for gradient in gradients], [gradient.ready for gradient in gradients]
    link = flat(1024).inter_node
    start, slope = 2 * 1023 * link.latency, 2 * 1023 / 1024 / link.bandwidth
    return lambda: optimal(messages, ready, lambda message: start + slope * message)


def prediction() -> Work:
    """Predict the default plan on 1,024 GPUs, intervals and memory included."""
    scenario = Scenario.of(gpus=1024, model="resnet50")
    return lambda: predict(scenario)


def on_ring(tool: str) -> tuple[str, dict[str, str]]:
    """Return which row a peer has on the flat ring over 1,024 ranks."""
    return RING, {"tool": tool, "ranks": "1024"}


ROWS = {
    "closed form, one all-reduce": Row(one_all_reduce, 20e-6, calls=1000),
    "ResNet-50 step, 54 buckets, 1,024 ranks, events": Row(
        events("one per group (54)"),
        10e-3,
        peers=((STEP, {"tool": "ASTRA-sim", "buckets": "one per group (54)", "ranks": "1024"}),),
    ),
    "ResNet-50 step, 16 MiB buckets, 1,024 ranks, events": Row(
        events("16 MiB"),
        10e-3,
        peers=((STEP, {"tool": "ASTRA-sim", "buckets": "3 buckets", "ranks": "1024"}),),
    ),
    "100 MiB ring, 1,024 ranks, every step of every rank": Row(
        every_step(1024),
        0.1,
        200,
        peers=(on_ring("ASTRA-sim 2 analytical, 1 chunk"), on_ring("LogGOPSim"), on_ring("SimGrid SMPI replay")),
    ),
    "the same, 16,384 ranks": Row(every_step(16384), 20, 500, repeats=3),
    "ResNet-50, stragglers, 1,024 ranks, 100 steps": Row(stragglers({}), 5, repeats=3),
    "the same, rings": Row(stragglers({"plan.all_reduce": "ring"}), 5, repeats=3),
    "the same, rings, a slow link: every step": Row(
        stragglers({"plan.all_reduce": "ring", "cluster.slow": "[{node = 3, inter_node = 1.5}]"}), 5, repeats=3
    ),
    "exact optimal fusion of 161 tensors": Row(optimal_fusion, 2e-3),
    "a whole prediction, 1,024 GPUs": Row(prediction, 0.1),
}


def measure(row: Row) -> dict[str, object]:
    """Return the seconds of each run of *row* and the peak megabytes of this process."""
    work = row.prepare()
    work()
    times = []
    for _ in range(row.repeats):
        start = time.perf_counter()
        for _ in range(row.calls):
            work()
        times.append((time.perf_counter() - start) / row.calls)
    return {"times": times, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def in_child(name: str) -> tuple[list[float], float, float]:
    """Return the times and megabytes of *name* in a process of its own, and its seconds without the times."""
    start = time.perf_counter()
    output = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True).stdout
    whole, measured = time.perf_counter() - start, json.loads(output)
    return measured["times"], measured["megabytes"], whole - sum(measured["times"]) * ROWS[name].calls


def duration(seconds: float) -> str:
    """Return *seconds* in the unit that reads best."""
    unit, factor = next(
        pair for pair in (("s", 1), ("ms", 1e-3), ("us", 1e-6)) if seconds >= pair[1] or pair[0] == "us"
    )
    return f"{seconds / factor:.3g} {unit}"


def against(row: Row, seconds: float, megabytes: float, fresh: float) -> str:
    """Return how many times as long, and as large, the peers were."""
    texts = []
    for file, wanted in row.peers:
        peer = next(r for r in rows(file) if all(r[key].startswith(text) for key, text in wanted.items()))
        size = f", {float(peer['peak_MB']) / megabytes:.1f} x memory" if peer["peak_MB"] else ""
        wall = float(peer["wall_s"])
        texts.append(
            f"{peer['tool'].split()[0]} {wall:g} s: {wall / seconds:,.0f} x, {wall / fresh:,.1f} x fresh{size}"
        )
    return "; ".join(texts)


def main() -> None:
    """Print the table; a row that misses what it must reach is marked."""
    print("| work | at most | median (range) | fresh process | peak | peers, and how many times as much they took |")
    print("|---|---|---|---|---|---|")
    for name, row in ROWS.items():
        times, megabytes, fresh = in_child(name)
        median = statistics.median(times)
        bound = duration(row.seconds) + (f", {row.megabytes:g} MB" if row.megabytes else "")
        missed = median > row.seconds or megabytes > (row.megabytes or float("inf"))
        found = f"{duration(median)} ({duration(min(times))} to {duration(max(times))}){' MISSED' if missed else ''}"
        size = f"{duration(fresh)} | {megabytes:.0f} MB"
        print(f"| {name} | {bound} | {found} | {size} | {against(row, median, megabytes, fresh)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(ROWS[sys.argv[1]])))
    else:
        main()
