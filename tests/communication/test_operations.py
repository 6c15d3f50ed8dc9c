"""Contract tests over every algorithm of every operation, and the closed forms of the operations beside all-reduce."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim import InputError, Scenario
from lbsim.cli.app import main
from lbsim.communication.all_gather import ring as all_gather
from lbsim.communication.all_reduce import ring as all_reduce
from lbsim.communication.all_to_all import direct as all_to_all
from lbsim.communication.broadcast import ring as broadcast
from lbsim.communication.collective_time import time_collective
from lbsim.communication.fabric import closed_form
from lbsim.communication.fusion import FusionBuffer
from lbsim.communication.operations import OPERATIONS, find_operation
from lbsim.communication.rank_clocks import advance
from lbsim.communication.reduce_scatter import ring as reduce_scatter
from lbsim.communication.send_receive import direct as send_receive
from lbsim.compute.gradients import ComputeTimes
from lbsim.profiles.module_catalog import module_names
from lbsim.simulation.step_schedule import StepSchedule, Transfer
from lbsim.simulation.step_simulator import simulate_schedule
from tests.communication.test_all_reduce import BETWEEN, INSIDE, fabric, shapes, sizes

EVERY = [
    pytest.param(operation, operation.algorithm(name), id=f"{operation.name}-{name}")
    for operation in OPERATIONS.values()
    if operation.name != "all-reduce"  # whose contract is tests/communication/test_all_reduce.py
    for name in module_names(operation.kind)
    if name != "pat"  # which needs its release and one GPU per node: tests/communication/test_switches.py
]
LEAST = {
    "reduce-scatter": lambda gpus: (gpus - 1) / gpus,
    "all-gather": lambda gpus: (gpus - 1) / gpus,
    "all-to-all": lambda gpus: (gpus - 1) / gpus,
    "broadcast": lambda gpus: 1 if gpus > 1 else 0,
    "send-receive": lambda gpus: 1 if gpus > 1 else 0,
}
"""Message that one GPU must send, as a fraction of the largest buffer: its shard of each other's, or all of its own."""


def over_nodes(shape):
    nodes, gpus_per_node, nics = shape
    return fabric(nodes * gpus_per_node, gpus_per_node, nics)


@pytest.mark.parametrize(("operation", "algorithm"), EVERY)
@given(shape=shapes, message=sizes)
def test_a_gpu_sends_at_least_what_the_operation_requires(operation, algorithm, shape, message):
    over = over_nodes(shape)
    collective = algorithm(message, over)
    assert (collective.operation, collective.message) == (operation.kind, message)
    assert sum(phase.sent for phase in collective.phases) >= LEAST[operation.name](over.gpus) * message * (1 - 1e-12)


@pytest.mark.parametrize(("operation", "algorithm"), EVERY)
@given(shape=shapes, message=sizes)
def test_no_faster_than_the_bytes_that_must_leave_a_gpu_or_a_node(operation, algorithm, shape, message):
    """A node's k GPUs send k (n-k) shards out in an all-to-all, a message each in a broadcast or a shift, (N-1)/N S
    in a gather: at least one shard for each GPU outside.
    """
    over = over_nodes(shape)
    seconds, gpus, inside = closed_form(algorithm(message, over), over), over.gpus, over.gpus_per_node
    if gpus == 1:
        assert seconds == 0
        return
    inside_out = LEAST[operation.name](gpus) * message / max(INSIDE.bandwidth, over.nics * BETWEEN.bandwidth)
    outside = 0.0
    if gpus > inside:
        shards = inside * (gpus - inside) if operation.name == "all-to-all" else gpus - inside
        least = message if operation.name in {"broadcast", "send-receive"} else shards * message / gpus
        outside = least / (over.nics * BETWEEN.bandwidth)
    assert seconds >= max(inside_out, outside) * (1 - 1e-12)


@pytest.mark.parametrize(("operation", "algorithm"), EVERY)
@given(shape=shapes, message=sizes, factor=st.floats(1, 100))
def test_a_larger_message_takes_no_less_time(operation, algorithm, shape, message, factor):
    over = over_nodes(shape)
    first, second = (closed_form(algorithm(size, over), over) for size in (message, message * factor))
    assert second >= first * (1 - 1e-12), operation.name


@pytest.mark.parametrize(("operation", "algorithm"), EVERY)
def test_one_gpu_runs_no_phases(operation, algorithm):
    assert algorithm(1e6, fabric(1)).phases == (), operation.name


@pytest.mark.parametrize(("operation", "algorithm"), EVERY)
@given(shape=shapes, message=sizes, seed=st.integers(0, 99))
def test_the_three_evaluators_agree(operation, algorithm, shape, message, seed):
    over = over_nodes(shape)
    collective = algorithm(message, over)
    seconds = closed_form(collective, over)
    assert advance(collective, over, np.zeros((over.gpus, 1))).max() == pytest.approx(seconds, rel=1e-3)
    late = np.random.default_rng(seed).uniform(0, 1e-2, (over.gpus, 1))
    assert advance(collective, over, late).max() <= seconds + late.max() + 1e-12, operation.name
    times = ComputeTimes(0.0, 0.0, 0.0, input_overhead=0.0, gradients=())
    step = StepSchedule(times, (Transfer(FusionBuffer(("t",), message, 0.0), collective, over),))
    assert simulate_schedule(step).step_time == pytest.approx(seconds)


@pytest.mark.parametrize("algorithm", [reduce_scatter.reduce_scatter, all_gather.all_gather, all_to_all.all_to_all])
@given(shape=shapes, seed=st.integers(0, 99))
def test_no_rank_has_all_shards_before_the_last_rank_has_entered(algorithm, shape, seed):
    over = over_nodes(shape)
    ready = np.random.default_rng(seed).uniform(0, 1e-2, (over.gpus, 1))
    assert advance(algorithm(1e6, over), over, ready).min() >= ready.max() * (1 - 1e-12)


@given(shape=shapes, message=sizes)
def test_a_ring_all_reduce_is_a_reduce_scatter_and_an_all_gather(shape, message):
    """Patarasuk and Yuan 2009: the two halves, with nothing between them; the second has its shard in the buffer."""
    over = over_nodes(shape)
    first, second = reduce_scatter.reduce_scatter(message, over), all_gather.all_gather(message, over)
    in_place = tuple(replace(phase, own=0.0) for phase in second.phases)
    assert all_reduce.all_reduce(message, over).phases == first.phases + in_place


def test_a_ring_all_gather_costs_its_closed_form():
    """Thakur et al. 2005: (n-1) α + (n-1)/n S/B."""
    collective = all_gather.all_gather(8e6, fabric(8, 8))
    assert closed_form(collective, fabric(8, 8)) == pytest.approx(7 * 3e-6 + 7 / 8 * 8e6 / 10e9)


def test_a_pipelined_broadcast_is_within_a_step_of_the_optimal_number_of_chunks():
    r"""Sanders et al. 2009: :math:`(\sqrt{(p-2) α} + \sqrt{S/B})^2` with real chunks; a power of two is near."""
    over, message = fabric(64), 64e6
    optimal = (np.sqrt(62 * BETWEEN.latency) + np.sqrt(message / BETWEEN.bandwidth)) ** 2
    assert optimal <= closed_form(broadcast.broadcast(message, over), over) <= 1.02 * optimal


def test_all_gpus_of_a_node_share_its_nics_in_an_all_to_all():
    """2 nodes of 8: each node sends 8 x 8 shards of S/16 through its NICs."""
    one, eight = (closed_form(all_to_all.all_to_all(16e8, over), over) for over in (fabric(16, 8, 1), fabric(16, 8, 8)))
    assert one == pytest.approx(15 * 1e-5 + 64 * 1e8 / 5e9)
    assert eight == pytest.approx(15 * 1e-5 + 64 * 1e8 / 5e9 / 8)


def test_a_shift_takes_the_time_of_one_message_over_the_slowest_link():
    assert closed_form(send_receive.send_receive(1e9, fabric(16, 8)), fabric(16, 8)) == pytest.approx(1e-5 + 1e9 / 5e9)


@pytest.mark.parametrize(("name", "factor"), [("all-gather", 7 / 8), ("broadcast", 1), ("all-reduce", 7 / 4)])
def test_bus_bandwidth_has_the_factor_of_nccl_tests(name, factor):
    """NVIDIA nccl-tests, doc/PERFORMANCE.md."""
    timing = time_collective(Scenario.of(gpus=8, cluster="dgx-a100"), 1e8, OPERATIONS[name])
    assert timing.bus_bandwidth == pytest.approx(factor * 1e8 / timing.time)


COLUMNS = {
    "reduce-scatter": ["1024", "32", "float", "sum", "-1"],
    "all-gather": ["1024", "32", "float", "none", "-1"],
    "all-to-all": ["1024", "32", "float", "none", "-1"],
    "broadcast": ["1024", "256", "float", "none", "0"],
    "send-receive": ["1024", "256", "float", "sum", "-1"],
}
"""Columns size, count, type, redop and root that the programs of nccl-tests print over 8 GPUs."""


@pytest.mark.parametrize("name", COLUMNS)
def test_a_sweep_has_the_columns_of_nccl_tests(name, capsys):
    command = ["collective", "--operation", name, "--gpus", "8", "--from", "1 KiB", "--to", "1 KiB"]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:5] == COLUMNS[name]


def test_per_rank_times_of_an_operation_end_with_its_time(capsys):
    command = ["collective", "--operation", "all-gather", "--gpus", "16", "--message", "1 MiB", "--cluster", "dgx-a100"]
    assert main([*command, "--per-rank", "--format", "json"]) == 0
    timing = json.loads(capsys.readouterr().out)
    assert (timing["operation"], timing["algorithm"]) == ("all-gather", "ring")
    assert max(timing["done"]) == pytest.approx(timing["time"])


FAULTS = {
    "an unknown operation": (["--operation", "all-gahter"], "did you mean 'all-gather'?"),
    "an unknown algorithm": (["--operation", "broadcast", "--algorithm", "rign"], "did you mean 'ring'?"),
    "the option of another operation": (["--operation", "broadcast", "--all-reduce", "ring"], "write --algorithm"),
    "one GPU": (["--operation", "broadcast", "--gpus", "1"], "1 GPU has no broadcast; use --gpus 2 or more"),
}


@pytest.mark.parametrize(("arguments", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_options_are_refused_in_one_line(arguments, message, capsys):
    assert main(["collective", "--gpus", "8", "--message", "1 MiB", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_an_unknown_operation_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'all-to-all'"):
        find_operation("alltoall")
