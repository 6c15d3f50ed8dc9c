import csv
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lbsim import Scenario, predict
from lbsim.analysis.sweep import RESULT_COLUMNS
from lbsim.analysis.sweep_axes import parse_axes
from lbsim.analysis.sweep_grid import build_sweep
from lbsim.analysis.sweep_results import SweepResults
from lbsim.analysis.sweep_workers import CHUNK, run_here, run_on_dask
from lbsim.cli.app import main
from lbsim.errors import InputError
from lbsim.profiles.catalog import SHIPPED
from lbsim.scenario.request import ScenarioRequest

CHECKOUT = Path(__file__).parents[2]
ALONE = ["--cluster", "mn-1", "--workers", "1"]
GRID = ["gpus", "8", "16", "cluster.inter_node.bandwidth", "10 Gb/s", "100 Gb/s"]


def rows(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def asked(*words, sample=None, seed=0, **tables):
    return build_sweep(
        ScenarioRequest({"cluster": "mn-1", "plan": {}} | tables, {}, SHIPPED), parse_axes(words), sample, seed
    )


def refused(capsys, *arguments):
    """Return the one line that *arguments* get."""
    assert main(["sweep", *map(str, arguments)]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.count("\n") == 1
    return error


def started(out, *words):
    """Start the command in a process of its own, and wait until it has finished something."""
    command = [sys.executable, "-m", "lbsim.cli", "sweep", *words, "--cluster", "mn-1", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.Popen([*command, "--out", str(out)], env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: child.poll() is not None or (out.exists() and out.read_bytes().count(b"\n") > CHUNK))
    assert child.poll() is None, child.communicate()
    return child


def until(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.01)


def test_each_row_is_what_predicting_its_scenario_says(tmp_path):
    out = tmp_path / "results.csv"
    assert main(["sweep", *GRID, *ALONE, "--out", str(out)]) == 0
    written = rows(out)
    assert [row["number"] for row in written] == ["0", "1", "2", "3"]
    for row in written:
        scenario = Scenario.of(gpus=int(row["plan.gpus"]), cluster="mn-1")
        link = scenario.cluster.inter_node.model_copy(
            update={"bandwidth": float(row["cluster.inter_node.bandwidth"])}  # told in bytes a second
        )
        cluster = scenario.cluster.model_copy(update={"inter_node": link})
        prediction = predict(scenario.model_copy(update={"cluster": cluster}))
        assert float(row["throughput"]) == prediction.throughput
        assert float(row["breakdown.backward"]) == prediction.breakdown.backward
        assert float(row["interval.step_time.high"]) == prediction.interval.ranges["step_time"].high
        assert row["error"] == ""
    assert {row["cluster.inter_node.bandwidth"] for row in written} == {"1250000000.0", "12500000000.0"}


def test_clusters_and_software_are_swept_with_the_defaults_that_come_with_them(tmp_path):
    out = tmp_path / "results.csv"
    words = ["cluster", "mn-1", "dgx-h100", "software", "pytorch-nccl", "chainer-2017", "--gpus", "16"]
    assert main(["sweep", *words, "--set", "plan.epochs=1", "--workers", "1", "--out", str(out)]) == 0
    for row in rows(out):
        scenario = Scenario.of(gpus=16, cluster=row["cluster"], software=row["software"], epochs=1)
        assert float(row["time_to_train"]) == predict(scenario).time_to_train


def test_a_scenario_that_cannot_be_is_a_row_with_its_error(tmp_path, capsys):
    out = tmp_path / "results.csv"
    words = ["batch_per_gpu", "32", "100000", "all_reduce", "ring", "hierarchical", "--gpus", "12", *ALONE]
    assert main(["sweep", *words, "--out", str(out)]) == 0
    errors = [row["error"] for row in rows(out)]
    assert errors[0] == ""
    assert "needs" in errors[2]
    assert all(row[name] == "" for row in rows(out) if row["error"] for name in RESULT_COLUMNS)
    failed = sum(1 for error in errors if error)
    assert f"4 scenarios; {failed} invalid" in capsys.readouterr().out


def test_a_scenario_file_may_stand_first(tmp_path):
    (tmp_path / "mine.toml").write_text('[scenario]\ncluster = "mn-1"\n[scenario.plan]\ngpus = 8\nbatch_per_gpu = 16\n')
    out = tmp_path / "results.csv"
    words = [str(tmp_path / "mine.toml"), "plan.epochs", "1", "2", "--workers", "1"]
    assert main(["sweep", *words, "--out", str(out)]) == 0
    prediction = predict(Scenario.of(gpus=8, cluster="mn-1", batch_per_gpu=16))
    assert {float(row["throughput"]) for row in rows(out)} == {prediction.throughput}


def test_a_random_sample_is_part_of_the_grid_and_the_same_for_its_seed():
    many = [str(value) for value in range(1, 101)]
    words = ["gpus", *many, "batch_per_gpu", *many]
    drawn = [asked(*words, sample=50, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0].numbers == drawn[1].numbers != drawn[2].numbers
    assert len(set(drawn[0].numbers)) == 50
    assert drawn[0].identity != drawn[2].identity
    number = drawn[0].numbers[0]
    assert drawn[0].task(number).values == (number // 100 + 1, number % 100 + 1)
    assert list(asked("gpus", "1", "2", sample=5).numbers) == [0, 1]


def test_several_workers_say_what_one_says():
    sweep = asked("gpus", *map(str, range(8, 9 + CHUNK)), "model", "googlenet", "alexnet")
    one, several = (
        sorted((row for rows in run_here(sweep, sweep.numbers, workers) for row in rows), key=lambda row: row["number"])
        for workers in (1, 2)
    )
    assert several == one
    assert len(one) == 2 * (CHUNK + 1)


def test_what_was_torn_off_is_predicted_again(tmp_path, capsys):
    out = tmp_path / "results.csv"
    command = ["sweep", *GRID, *ALONE, "--out", str(out)]
    assert main(command) == 0
    whole = out.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 100, len(whole.splitlines()[0]) // 2, 0):
        out.write_bytes(whole[:cut])
        assert main(command) == 0
        assert out.read_bytes() == whole
    assert "4 scenarios, 3 from an earlier run;" in capsys.readouterr().out


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_started_again_it_goes_on(stop, tmp_path, capsys):
    # about 3 s of work, so that it is stopped on the way
    words = ["gpus", *map(str, range(256, 456)), "model", "googlenet", "alexnet"]
    out = tmp_path / "results.csv"
    child = started(out, *words)
    child.send_signal(stop)
    _, told = child.communicate(timeout=60)
    assert child.returncode == (-signal.SIGKILL if stop is signal.SIGKILL else 130)
    assert stop is signal.SIGKILL or "run it again to resume" in told
    kept = out.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1].splitlines()[1:]
    assert CHUNK <= len(kept) < 400
    assert main(["sweep", *words, "--cluster", "mn-1", "--out", str(out)]) == 0
    assert f"400 scenarios, {len(kept)} from an earlier run;" in capsys.readouterr().out
    finished = out.read_bytes().splitlines()
    assert set(kept) < set(finished)
    assert [int(row["number"]) for row in rows(out)] == list(range(400))


def test_no_worker_outlives_a_killed_parent(tmp_path):
    words = ["gpus", *map(str, range(256, 456)), "model", "googlenet", "alexnet"]
    child = started(tmp_path / "results.csv", *words)
    found = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    if not found.exists():
        child.kill()
        child.communicate()
        pytest.skip("this system has no /proc that lists children")
    workers = found.read_text().split()
    assert len(workers) >= 2
    child.kill()
    child.communicate()
    until(lambda: not any(running(worker) for worker in workers))


def running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_dask_cluster_that_loses_a_worker_loses_no_scenario():
    distributed = pytest.importorskip("distributed")
    sweep = asked("gpus", *map(str, range(256, 256 + 6 * CHUNK)), "model", "googlenet")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            workers = list(client.run(os.getpid).values())
        assert len(set(workers)) == 2
        batches = run_on_dask(sweep, sweep.numbers, cluster.scheduler_address)
        there = next(batches)
        os.kill(workers[0], signal.SIGKILL)
        for batch in batches:
            there += batch
    assert not running(workers[0])
    here = [row for batch in run_here(sweep, sweep.numbers, 1) for row in batch]
    assert sorted(there, key=lambda row: row["number"]) == here


def test_the_command_runs_on_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    here, there = (["sweep", *GRID, *ALONE, "--out", str(tmp_path / name)] for name in ("here.csv", "there.csv"))
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None, protocol="tcp://") as cluster:
        assert main([*there, "--scheduler", cluster.scheduler_address]) == 0
    assert main(here) == 0
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()


@pytest.fixture
def silent():
    """Return the address of something that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["silent", "tcp://127.0.0.1:9", "nowhere", "carrier-pigeon://here:1"])
def test_a_scheduler_that_does_not_answer_gets_one_line_in_time(address, silent, tmp_path):
    pytest.importorskip("distributed")
    address = silent if address == "silent" else address
    command = [sys.executable, "-m", "lbsim.cli", "sweep", *GRID, *ALONE, "--scheduler", address]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "results.csv")],
        timeout=120,  # of 8 s of patience, on a machine that others use: only a hang is longer
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"lbsim: --scheduler {address}: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_parquet_has_the_numbers_of_csv_with_types(tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["cluster.nics", "1", "2", "plan.overlap", "true", "false", "batch_per_gpu", "32", "100000", "--gpus", "16"]
    for name in ("results.csv", "results.parquet"):
        assert main(["sweep", *words, *ALONE, "--out", str(tmp_path / name)]) == 0
    table = parquet.read_table(tmp_path / "results.parquet")
    assert table.schema.field("plan.overlap").type == "bool"
    assert table.schema.field("cluster.nics").type == "int64"
    assert table.schema.field("throughput").type == "double"
    for column, row in zip(rows(tmp_path / "results.csv"), table.to_pylist(), strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == column
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "results.parquet"]
    capsys.readouterr()
    assert main(["sweep", *words, *ALONE, "--out", str(tmp_path / "results.parquet")]) == 0
    assert "8 scenarios, 8 from an earlier run; 4 invalid" in capsys.readouterr().out
    assert "results of this sweep" in refused(capsys, *GRID, *ALONE, "--out", tmp_path / "results.parquet")


def test_parquet_goes_on_from_the_rows_of_a_run_that_was_killed(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    sweep, out = asked(*GRID), tmp_path / "results.parquet"
    with SweepResults(out, sweep) as results:
        results.append(next(run_here(sweep, [2], 1)))
    assert not out.exists()
    with SweepResults(out, sweep) as results:
        assert results.done == {2}
        for batch in run_here(sweep, [0, 1, 3], 1):
            results.append(batch)
        assert results.finish() == 0
    assert parquet.read_table(out).column("number").to_pylist() == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [out]


def test_results_of_another_grid_are_left_alone(tmp_path, capsys):
    out = tmp_path / "results.csv"
    assert main(["sweep", *GRID, *ALONE, "--out", str(out)]) == 0
    capsys.readouterr()
    whole = out.read_bytes()
    for words in ([*GRID, "50 Gb/s"], GRID[:3], [*GRID, "--batch-per-gpu", "16"], [*GRID, "--random", "3"]):
        assert "results of this sweep" in refused(capsys, *words, *ALONE, "--out", out)
        assert out.read_bytes() == whole
    out.write_text("something,else\n1,2\n")
    assert "results of this sweep" in refused(capsys, *GRID, *ALONE, "--out", out)
    assert out.read_text() == "something,else\n1,2\n"


def test_a_changed_profile_is_another_sweep(tmp_path):
    file = tmp_path / "mine.toml"
    identities = set()
    for rate in (25, 50):
        file.write_text(f'extends = "mn-1"\ninter_node = {{ extends = "ib-fdr", bandwidth = "{rate} Gb/s" }}\n')
        identities.add(asked("gpus", "8", "16", cluster=str(file)).identity)
    assert len(identities) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gpus"], "no values"),
        (["gpus", "--gpus", "8"], "no values"),
        (["8", "16"], "no '8' in what can be swept"),
        (["gpuss", "8"], "did you mean 'gpus'"),
        (["gpus", "8", "many"], "not 'many'"),
        (["gpus", "8", "8"], "swept twice"),
        (["gpus", "8", "gpus", "16"], "swept twice"),
        (["gpus", "8", "cluster.nicks", "2"], "no 'cluster.nicks'"),
        (["gpus", "8", "cluster.inter_node.bandwidth", "25"], "no unit"),
        (["cluster.inter_node.bandwidth", "25 Gb/s"], "how many GPUs?"),
        (["gpus", "8", "cluster", "nowhere"], "no 'nowhere'"),
        (["gpus", "8", "--random", "0"], "--random"),
    ],
)
def test_what_cannot_be_swept_gets_one_line(words, said, tmp_path, capsys):
    out = tmp_path / "results.csv"
    assert said in refused(capsys, *words, "--workers", 1, "--out", out).replace("╯", "")
    assert not out.exists()


def test_a_file_that_cannot_be_written_gets_one_line(tmp_path, capsys):
    assert ": Is a directory; choose the name of a file" in refused(
        capsys, *GRID, "--out", made(tmp_path / "results.csv")
    )
    assert ".csv or .parquet" in refused(capsys, *GRID, "--out", tmp_path / "results.xlsx")


def made(folder):
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("pyarrow", ["--out", "results.parquet"], "lbsim[parquet]"),
        ("distributed", ["--scheduler", "tcp://localhost:8786", "--out", "results.csv"], "lbsim[dask]"),
    ],
)
def test_an_extra_that_is_missing_is_named(module, words, extra, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert extra in refused(capsys, *GRID, *ALONE, *words)
    assert not Path(words[-1]).exists()


def test_a_line_that_is_no_row_is_named(tmp_path, capsys):
    out = tmp_path / "results.csv"
    assert main(["sweep", *GRID, *ALONE, "--out", str(out)]) == 0
    capsys.readouterr()
    lines = out.read_text().splitlines(keepends=True)
    lines[2] = "not a row\n"
    out.write_text("".join(lines))
    assert "line 3 is not a row" in refused(capsys, *GRID, *ALONE, "--out", out)


def test_rows_are_not_appended_outside_the_file(tmp_path):
    with pytest.raises(ValueError, match="only inside the context"):
        SweepResults(tmp_path / "results.csv", asked(*GRID)).append([])


def test_no_axes_are_refused():
    with pytest.raises(InputError, match="nothing to sweep"):
        parse_axes([])


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("number", "4"),  # the grid has 0 to 3
        ("number", "abc"),
        ("number", "-1"),
        ("number", "9" * 5000),  # more digits than Python reads
        ("throughput", "nan"),
        ("throughput", "inf"),
        ("step_time", "fast"),
        ("memory.total", ""),
        ("memory.total", "1" + 200_000 * "0"),  # longer than a CSV field may be
        ("error", "an error beside numbers"),
        ("error", "\r"),
    ],
)
def test_a_row_that_cannot_be_a_result_is_refused_and_left_alone(column, cell, tmp_path, capsys):
    out = tmp_path / "results.csv"
    assert main(["sweep", *GRID, *ALONE, "--out", str(out)]) == 0
    capsys.readouterr()
    found = rows(out)
    found[1][column] = cell
    lines = [",".join(found[0]), *(",".join(row.values()) for row in found)]
    out.write_bytes("\n".join([*lines, ""]).encode())
    before = out.read_bytes()
    message = refused(capsys, *GRID, *ALONE, "--out", out)
    assert "correct it or write elsewhere" in message
    assert len(message) < 500
    assert out.read_bytes() == before


def test_parquet_with_other_types_or_rows_is_refused_and_left_alone(tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    out = tmp_path / "results.parquet"
    assert main(["sweep", *GRID, *ALONE, "--out", str(out)]) == 0
    capsys.readouterr()
    table = parquet.read_table(out)
    column = table.schema.get_field_index("throughput")
    text = table.set_column(column, "throughput", pa.array(["fast"] * 4))
    for damaged in (text, table.slice(1), table.set_column(0, "number", pa.array([0, 1, 2, 9]))):
        parquet.write_table(damaged, out)
        before = out.read_bytes()
        assert "results of this sweep" in refused(capsys, *GRID, *ALONE, "--out", out)
        assert out.read_bytes() == before


def test_a_sweep_says_for_what_it_waits(tmp_path):
    sweep, waited = asked(*GRID), []
    with SweepResults(tmp_path / "results.csv", sweep) as first:
        first.append(next(run_here(sweep, [2], 1)))

        def end_the_first():
            waited.append(True)
            first.__exit__()

        with SweepResults(tmp_path / "results.csv", sweep, end_the_first) as second:
            assert second.done == {2}
    assert waited == [True]


def test_a_device_is_no_place_for_what_must_be_read_back(tmp_path, capsys):
    (tmp_path / "results.csv").symlink_to("/dev/full")
    assert "not a regular file" in refused(capsys, *GRID, *ALONE, "--out", tmp_path / "results.csv")
