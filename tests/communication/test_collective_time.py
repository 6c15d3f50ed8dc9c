"""Commands `lbsim collective` and `lbsim predict --ranks`."""

import json
import re

import pytest

from lbsim import Scenario
from lbsim.cli.app import main
from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.measurements.quantities import ALL_REDUCES
from tests.communication.test_oracles import LINK

RING = ["collective", "--all-reduce", "ring", "--gpus", "1024", "--cluster", "mn-1"]
ORACLE = ["--set", "cluster.gpus_per_node=1", "--set", "cluster.inter_node.latency=1 us"]
ORACLE += ["--set", "cluster.inter_node.bandwidth=6.8 GB/s", "--set", "cluster.inter_node.efficiency=1"]
ORACLE += ["--set", "software.library.per_step=0 s", "--set", "software.library.per_collective=0 s"]


@pytest.fixture
def run(capsys):
    def lbsim(*arguments):
        code = main(list(arguments))
        return (code, *capsys.readouterr())

    return lbsim


@pytest.fixture
def answer(run):
    def lbsim(*arguments):
        code, output, error = run(*arguments, "--format", "json")
        assert (code, error) == (0, "")
        return json.loads(output)

    return lbsim


def test_an_all_reduce_takes_the_time_of_loggopsim(answer):
    """LogGOPSim, tests/communication/oracles: 32.856 ms over 1,024 ranks."""
    timing = answer(*RING, *ORACLE, "--message", "100 MiB", "--per-rank")
    assert timing["time"] == pytest.approx(32.856e-3, rel=1e-3)
    assert max(timing["done"]) == pytest.approx(timing["time"])
    assert len(timing["done"]) == 1024


def test_bandwidths_are_those_of_nccl_tests(answer):
    """NVIDIA nccl-tests, doc/PERFORMANCE.md: algbw = S/t, and busbw = algbw 2(n-1)/n, which large messages saturate."""
    timing = answer(*RING, *ORACLE, "--message", "100 GiB")
    assert timing["algorithmic_bandwidth"] == pytest.approx(timing["message"] / timing["time"])
    assert timing["bus_bandwidth"] == pytest.approx(timing["algorithmic_bandwidth"] * 2 * 1023 / 1024)
    assert timing["bus_bandwidth"] == pytest.approx(LINK.bandwidth, rel=1e-3)


@pytest.mark.parametrize(("gpus", "name"), [(2, "intra_node"), (16, "inter_node")])
def test_an_isolated_message_takes_latency_plus_bytes_over_bandwidth(gpus, name):
    """R. W. Hockney, Parallel Comput. 20, 1994: t = latency + S / (e B); many at once leave e B."""
    here = Scenario.of(gpus=gpus, cluster="dgx-1-v100")
    link = getattr(here.cluster, name)
    reached = link.efficiency * link.bandwidth
    assert MICROBENCHMARKS["message_time"](here, 1e6) == pytest.approx(link.latency + 1e6 / reached)
    assert MICROBENCHMARKS["message_rate"](here, 1e6) == pytest.approx(reached)


def test_every_quantity_of_an_all_reduce_that_a_case_may_have_can_be_predicted():
    assert set(ALL_REDUCES) <= set(MICROBENCHMARKS)


def test_phases_add_up_to_the_time_less_the_start(answer):
    timing = answer(
        "collective", "--all-reduce", "hierarchical", "--gpus", "64", "--group-size", "4", "--message", "1 GB"
    )
    assert [phase["steps"] for phase in timing["phases"]] == [2 * 3, 2 * 15, 2 * 3]
    start = timing["time"] - sum(phase["time"] for phase in timing["phases"])
    assert start == pytest.approx(20e-6)  # hardware_profiles/libraries/nccl-2.toml: per_collective


def test_another_library_has_the_costs_of_its_profile(answer):
    """For large messages, which take neither LL nor LL128, these differ by 4.1 us a step and 1.6 us to start."""
    new, old = (answer(*RING, "--message", "10 GB", "--library", name) for name in ("nccl-2", "nccl-2017"))
    assert old["time"] - new["time"] == pytest.approx(2 * 1023 * 4.1e-6 - 1.6e-6)


def test_the_table_names_phases_links_and_bandwidths(run):
    code, output, error = run(*RING, "--message", "100 MiB", "--per-rank")
    assert (code, error) == (0, "")
    for text in ("bus bandwidth", "algorithmic bandwidth", "all-gather", "1,023", "inter-node", "last"):
        assert text in output
    assert max(map(len, output.splitlines())) <= 80


def test_a_sweep_prints_the_columns_of_nccl_tests(run):
    code, output, error = run(*RING, "--from", "8", "--to", "1 KiB", "--factor", "2")
    assert (code, error) == (0, "")
    header, *lines = output.splitlines()[1:]
    assert header.lstrip("#").split() == ["size", "count", "type", "redop", "root", "time", "algbw", "busbw"]
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert [int(row[0]) for row in rows] == [8 * 2**power for power in range(8)]
    assert [int(row[1]) for row in rows] == [2 * 2**power for power in range(8)]
    assert {tuple(row[2:5]) for row in rows} == {("float", "sum", "-1")}
    assert all(re.fullmatch(r"\d+\.\d\d", number) for row in rows for number in row[5:])


def test_a_sweep_as_json_has_what_one_all_reduce_has(answer):
    timings = answer(*RING, "--to", "64")["sweep"]
    assert timings[0] | {"lbsim": ""} == answer(*RING, "--message", "8 B") | {"lbsim": ""}
    assert len(timings) == 4


def test_a_slow_node_slows_the_messages_over_its_link(answer):
    """The slowest link determines the time of every step of the ring."""
    free = [*RING, *ORACLE, "--message", "1 MiB", "--per-rank"]
    healthy, slow = answer(*free), answer(*free, "--set", "cluster.slow=[{node = 3, inter_node = 2}]")
    assert slow["time"] == pytest.approx(2 * healthy["time"])
    assert max(slow["done"]) == pytest.approx(slow["time"])


FAULTS = {
    "no size": ([], "use either --message '100 MiB' for one size, or --to"),
    "two sizes": (["--message", "1 MiB", "--to", "1 GiB"], "use either --message '100 MiB' for one size, or --to"),
    "no unit": (["--message", "1.5"], "1.5 has no unit"),
    "wrong unit": (["--message", "5 GB/s"], "not a unit of size"),
    "nothing to send": (["--message", "0"], "must be more than zero"),
    "a negative size": (["--message", "-1 MB"], "must be more than zero"),
    "a sweep backwards": (["--from", "1 MiB", "--to", "1 KiB"], "is less than --from"),
    "a sweep that stands": (["--to", "1 KiB", "--factor", "1"], "must be finite and above 1"),
    "a sweep without end": (["--to", "1 GiB", "--factor", "1.000001"], "gives more than 10,000 sizes"),
    "ranks of a sweep": (["--to", "1 KiB", "--per-rank"], "simulates one message size"),
    "one GPU": (["--message", "1 MiB", "--gpus", "1"], "1 GPU has no all-reduce"),
    "an unknown algorithm": (["--message", "1 MiB", "--all-reduce", "rign"], "did you mean 'ring'?"),
    "an unknown library": (["--message", "1 MiB", "--library", "nccl-3"], "no 'nccl-3' in hardware_profiles/libraries"),
    "a group that does not divide": (
        ["--message", "1 MiB", "--all-reduce", "hierarchical", "--group-size", "3"],
        "3 does not divide 1024 GPUs; use one of 1, 2, 4, 8, 16",
    ),
    "a slow GPU that is not there": (
        ["--message", "1 MiB", "--set", "cluster.slow=[{gpu = 1024, inter_node = 2}]"],
        "no GPU 1024 on 1024 GPUs",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_options_are_refused_in_one_line(run, arguments, message):
    code, output, error = run(*RING, *arguments)
    assert (code, output) == (2, "")
    assert error.startswith("lbsim: ")
    assert error.count("\n") == 1
    assert message in error


PREDICT = ["predict", "--gpus", "16", "--cluster", "mn-1", "--software", "chainer-2017", "--batch-per-gpu", "32"]


def test_a_prediction_shows_the_spread_of_steps_only_with_ranks(answer):
    plain, asked = answer(*PREDICT), answer(*PREDICT, "--ranks", "50")
    ranks = asked.pop("ranks")
    assert plain == asked
    assert len(ranks["step_times"]) == ranks["steps"] == 50
    values = list(ranks["quantiles"].values())
    assert values == sorted(values)
    assert ranks["mean"] == pytest.approx(asked["step_time"], rel=0.01)


def test_a_per_rank_prediction_repeats_byte_for_byte(run):
    first, again = (run(*PREDICT, "--ranks", "30", "--format", "json") for _ in range(2))
    assert first == again
    other = run(*PREDICT, "--ranks", "30", "--format", "json", "--set", "plan.seed=1")
    assert json.loads(other[1])["ranks"]["step_times"] != json.loads(first[1])["ranks"]["step_times"]


def test_the_table_names_the_slowest_rank(run):
    code, output, _ = run(*PREDICT, "--ranks", "20", "--set", "cluster.slow=[{gpu = 9, compute = 1.5}]")
    assert code == 0
    assert "20 steps simulated rank by rank, seed 0" in output
    assert "GPU 9 in 20 steps" in output


def test_zero_steps_are_refused(run):
    assert run(*PREDICT, "--ranks", "0") == (
        2,
        "",
        "lbsim: --ranks: 0 is not a number of steps; write e.g. --ranks 100\n",
    )


def test_a_cluster_with_slow_parts_is_read_back_from_its_listing(run, tmp_path):
    (tmp_path / "clusters").mkdir()
    own = tmp_path / "clusters" / "limping.toml"
    own.write_text('extends = "mn-1"\nsource = "made up"\nslow = [{node = 3, inter_node = 1.5}]\n')
    _, shown, _ = run("profiles", "show", "limping", "--profiles", str(tmp_path))
    own.write_text(shown)
    assert run("profiles", "show", "limping", "--profiles", str(tmp_path)) == (0, shown, "")
