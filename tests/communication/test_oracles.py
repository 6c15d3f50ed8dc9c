"""Comparison with the results of other simulators, which `tests/communication/oracles` documents."""

import csv
from pathlib import Path

import pytest

from lbsim.communication.all_reduce import ring, two_level
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.fusion import fuse
from lbsim.compute.gradients import ComputeTimes, GradientTensor
from lbsim.profiles.hardware import Link
from lbsim.profiles.software import Library
from lbsim.scenario.plan import Plan
from lbsim.simulation.step_schedule import StepSchedule, Transfer
from lbsim.simulation.step_simulator import simulate_schedule

ORACLES = Path(__file__).parent / "oracles"
FREE = Library(name="free", source="the oracles charge nothing", per_collective=0.0, per_step=0.0)
LINK = Link(name="oracle", source="the oracles' parameters", latency=1e-6, bandwidth=6.8e9)
INSIDE = Link(name="inside", source="the oracles' parameters", latency=1e-6, bandwidth=12e9)
THRESHOLDS = {
    "1 MiB": "1 MiB",
    "4 MiB": "4 MiB",
    "16 MiB": "16 MiB",
    "3 buckets of >= 16 MiB": "16 MiB",
    "25 MiB": "25 MiB",
    "64 MiB": "64 MiB",
}


def rows(name):
    with (ORACLES / name).open() as file:
        return list(csv.DictReader(file))


def flat(ranks):
    return Fabric(gpus=ranks, gpus_per_node=1, intra_node=LINK, inter_node=LINK, nics=1, library=FREE, group_size=1)


def step_of_54_groups():
    groups = rows("resnet50_step_54_groups.csv")
    ready, gradients = 0.0, []
    for group in groups:
        ready += int(group["backward_microseconds"]) * 1e-6
        gradients.append(GradientTensor(group["group"], 1, int(group["gradient_bytes_fp16"]) // 2, ready))
    forward = sum(int(group["forward_microseconds"]) for group in groups) * 1e-6
    return ComputeTimes(forward, ready, update=0.0, input_overhead=0.0, gradients=tuple(gradients))


def exposed_step(buckets, ranks):
    times, fabric = step_of_54_groups(), flat(ranks)
    policy = {"fusion": "none"} if buckets not in THRESHOLDS else {"fusion_threshold": THRESHOLDS[buckets]}
    plan = Plan.model_validate({"gpus": ranks, "precision": "mixed"} | policy)
    transfers = tuple(
        Transfer(buffer, ring.all_reduce(buffer.message, fabric), fabric) for buffer in fuse(times.gradients, plan)
    )
    return StepSchedule(times, transfers), fabric


def exposed(buckets, ranks):
    step, _ = exposed_step(buckets, ranks)
    return simulate_schedule(step).step_time - step.times.forward - step.times.backward


@pytest.mark.parametrize(
    ("tool", "tolerance"),
    [
        ("closed form 2(n-1)(alpha + S/(nB))", 0.005),
        ("LogGOPSim", 0.005),
        ("ASTRA-sim 2 analytical, 1 chunk", 0.02),  # it pads messages and rounds times
    ],
)
def test_a_flat_ring_takes_the_time_of_other_simulators(tool, tolerance):
    answers = [row for row in rows("ring_all_reduce_100MiB.csv") if row["tool"] == tool]
    assert len(answers) == 4
    for row in answers:
        fabric = flat(int(row["ranks"]))
        seconds = closed_form(ring.all_reduce(float(row["message_bytes"]), fabric), fabric)
        assert seconds * 1e3 == pytest.approx(float(row["all_reduce_ms"]), rel=tolerance)


@pytest.mark.parametrize(
    ("tool", "tolerance"),
    [("closed form, 2-D 8x128", 0.005), ("ASTRA-sim 2 analytical, 2-D 8x128", 0.02)],
)
def test_a_two_level_all_reduce_takes_the_time_of_other_simulators(tool, tolerance):
    (row,) = [row for row in rows("ring_all_reduce_100MiB.csv") if row["tool"] == tool]
    fabric = Fabric(1024, 8, INSIDE, LINK, nics=8, library=FREE, group_size=8)
    seconds = closed_form(two_level.all_reduce(float(row["message_bytes"]), fabric), fabric)
    assert seconds * 1e3 == pytest.approx(float(row["all_reduce_ms"]), rel=tolerance)


STEPS = [
    row
    for row in rows("resnet50_step_exposed_communication.csv")
    if row["buckets"] in THRESHOLDS or row["buckets"] == "one per group (54)"
]


@pytest.mark.parametrize("row", STEPS, ids=lambda row: f"{row['tool'][:9]}, {row['buckets']}, {row['ranks']}")
def test_a_simulated_step_exposes_the_communication_of_other_simulators(row):
    """The tables print microseconds, so half of one is added to the relative tolerance."""
    relative = 0.02 if row["tool"].startswith("ASTRA") else 0.005
    milliseconds = exposed(row["buckets"], int(row["ranks"])) * 1e3
    assert milliseconds == pytest.approx(float(row["exposed_ms"]), rel=relative, abs=0.0005)
