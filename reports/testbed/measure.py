r"""Measure all-reduces and steps on testbeds of 2, 4, 8 and 16 hosts and three rates; needs root and iproute2.

    python reports/testbed/measure.py                    # every testbed, into traces/testbed/
    python reports/testbed/measure.py 16 "40 Mb/s"       # one

A testbed is put up once for each number of hosts and rate; its hosts then run this file again, as the ranks. Compute is
replayed from `traces/testbed/compute.json`, taken alone on one core by

    python -m lbsim.harness bench scaling --model net:small --input 3x32x32 --batch-per-gpu 32 --steps 8 --cpu \
        --out ../../traces/testbed/compute.json

in this folder, so that the hosts share the processors for nothing but communication.
"""

import os
import subprocess
import sys
from pathlib import Path

from lbsim.harness.bench import all_reduce, scaling
from lbsim.harness.bench.options import AllReduceOptions, ScalingOptions
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import ProcessGroup, process_group
from lbsim.measurements.trace import Trace, write_trace
from lbsim.units import DATA_RATE

HERE = "reports/testbed/measure.py"
"""From the root of the repository, where it is started."""
FOLDER = Path(__file__).parents[2] / "traces" / "testbed"
HOSTS = (2, 4, 8, 16)
RATES = ("80 Mb/s", "40 Mb/s", "120 Mb/s")
GROUP = 2
SIZES = tuple(float(kib * 1024) for kib in (1, 8, 64, 256, 1024, 2048))
REPEATS, STEPS, WARM_UP = 6, 6, 2
PLANS: tuple[dict[str, object], ...] = (
    {"fusion": "one-buffer", "overlap": False},
    {"fusion": "one-buffer"},
    {"fusion": "none"},
    {"fusion": "threshold"},
    {"fusion": "ddp"},
    {"fusion": "threshold", "all_reduce": "hierarchical"},
    {"fusion": "threshold", "all_reduce": "two-level"},
    {"fusion": "threshold", "all_reduce": "hybrid", "hybrid_threshold": "384 KiB"},
)
THRESHOLD = "256 KiB"
KEPT = ("all_reduce", "fusion", "overlap", "fusion_threshold", "hybrid_threshold", "group_size")


def main() -> None:
    """Put up the testbeds, one after another."""
    chosen = (
        [(int(sys.argv[1]), sys.argv[2])]
        if len(sys.argv) == 3
        else [(hosts, rate) for rate in RATES for hosts in HOSTS]
    )
    for hosts, rate in chosen:
        print(f"{hosts} hosts, {rate}", flush=True)
        there = ["lbsim", "testbed", "--hosts", str(hosts), "--rate", rate, "--"]
        # the hosts have no names, which torch would warn of
        quiet = os.environ | {"TORCH_CPP_LOG_LEVEL": "ERROR"}
        subprocess.run([*there, sys.executable, HERE, "rank", str(hosts), rate], check=True, env=quiet)


def measure_here(hosts: int, rate: str) -> None:
    """Measure as one of the ranks; rank 0 writes."""
    stem = f"{hosts}x{rate.removesuffix(' Mb/s')}"
    with process_group(120.0, "cpu") as place:
        reduced = all_reduce.measure(
            place,
            AllReduceOptions(
                sizes=SIZES,
                algorithms=("backend", "hierarchical", "two-level"),
                repeats=REPEATS,
                communication=CommunicationOptions.of(group_size=GROUP),
            ),
        )
        _keep(place, _told(reduced, rate), f"all-reduce-{stem}")
        scaled = [_scaling(place, plan) for plan in PLANS]
        _keep(place, _told(_joined(scaled), rate), f"scaling-{stem}")


def _scaling(place: ProcessGroup, plan: dict[str, object]) -> Trace:
    communication = CommunicationOptions.of(**{"fusion_threshold": THRESHOLD, "group_size": GROUP} | plan)
    replay = Path("traces/testbed/compute.json")
    return scaling.measure(
        place, ScalingOptions(replay=replay, steps=STEPS, warm_up=WARM_UP, communication=communication)
    )


def _joined(traces: list[Trace]) -> Trace:
    """Return one trace of all plans: every step of every rank, and three of rank 0's timelines."""
    observations = [
        observation.model_copy(update={"settings": {name: trace.settings[name] for name in KEPT}})
        for trace in traces
        for observation in trace.observations
    ]
    shared = {name: value for name, value in traces[0].settings.items() if name not in KEPT}
    shown = [timeline for timeline in traces[3].timelines if timeline.rank == 0 and timeline.step < 3]
    update = {"observations": tuple(observations), "timelines": tuple(shown), "settings": shared}
    return traces[0].model_copy(update=update)


def _told(trace: Trace, rate: str) -> Trace:
    """Return *trace* with what the testbed was."""
    links = {"testbed": "network namespaces, tbf each way", "bandwidth": DATA_RATE.parse(rate)}
    return trace.model_copy(update={"settings": trace.settings | links})


def _keep(place: ProcessGroup, trace: Trace, name: str) -> None:
    if place.rank == 0:
        write_trace(trace, FOLDER / f"{name}.json")
        print(f"wrote {name}.json, load {trace.evidence.load}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        measure_here(int(sys.argv[2]), sys.argv[3])
    else:
        main()
