"""What a run survives: kills, damage, ranks that die or hang, Ctrl-C. Real processes, real signals."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.harness.launch import LIMIT, column, environment, finish, free_port, start, train

ARGUMENTS = ["--data", "digits", "--device", "cpu", "--model", "odd_models:slow", "--batch-per-gpu", 48, "--epochs", 3]
SAVING = [*ARGUMENTS, "--checkpoint-every", 4, "--rate", 5]


def until(condition, processes, limit=LIMIT):
    """Wait until *condition*, or until a process has ended."""
    deadline = time.monotonic() + limit
    while not condition() and all(process.poll() is None for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def steps_done(folder):
    file = folder / "steps.csv"
    return file.read_text().count("\n") - 1 if file.exists() else 0


def losses(folder):
    epochs = [column(folder, name, "epochs") for name in ("loss", "accuracy", "validation_loss")]
    return column(folder, "step"), column(folder, "loss"), *epochs


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_is_killed_ends_bitwise_as_one_that_is_not(ranks, tmp_path):
    codes, said = train(ranks, *SAVING, "--output", tmp_path / "whole")
    assert codes == [0] * ranks, said
    moments = random.Random(ranks)
    killed = tmp_path / "killed"
    for _ in range(2 if ranks == 1 else 1):
        processes = start(ranks, *SAVING, "--output", killed)
        goal = steps_done(killed) + moments.randint(5, 25)
        until(lambda goal=goal: steps_done(killed) >= goal, processes)
        time.sleep(moments.random() * 0.05)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        finish(processes)
    codes, said = train(ranks, *SAVING, "--output", killed)
    assert codes == [0] * ranks, said
    assert "resuming after step" in said[0]
    assert losses(killed) == losses(tmp_path / "whole")


def test_a_run_that_goes_on_sends_the_buffers_that_the_first_one_planned_by_its_times(tmp_path, monkeypatch):
    """The first waits between layers, so that each travels alone; the second does not, and would send all as one."""
    plan = ("fusion=optimal", "fusion_warm_up=2", "fusion_latency=2 ms", "fusion_bandwidth=1 GB/s")
    words = [*SAVING, "--model", "odd_models:paced", "--optimizer", "sgd", "--rate", 0.5, "--epochs", 2]
    words += [
        "--checkpoint-every",
        6,
        "--engine",
        "lbsim",
        *(word for choice in plan for word in ("--communication", choice)),
    ]
    whole, later = tmp_path / "whole", tmp_path / "later"
    later.mkdir()
    name = "checkpoint-000000002.pt"  # at once, as the plan is made; the third to come removes it
    monkeypatch.setenv("PAUSE", "0.03")
    processes = start(3, *words, "--output", whole)
    until((whole / name).exists, processes)
    os.link(whole / name, later / name)
    codes, said = finish(processes)
    assert codes == [0] * 3, said
    monkeypatch.setenv("PAUSE", "0")
    codes, said = train(3, *words, "--output", later)
    assert codes == [0] * 3, said
    assert "resuming after step 2" in said[0]
    assert column(later, "loss") == column(whole, "loss")[2:]
    assert len(column(later, "loss")) == 16
    assert losses(later)[2:] == losses(whole)[2:]


@pytest.mark.slow
def test_distributed_data_parallel_goes_on_with_the_buckets_that_its_first_backward_pass_chose(tmp_path):
    choices = ["--model", "cnn", "--optimizer", "sgd", "--rate", 0.5, "--epochs", 2, "--checkpoint-every", 9]
    words = [*SAVING, *choices, "--engine", "ddp", "--communication", "fusion_threshold=4 kB"]
    whole, later = tmp_path / "whole", tmp_path / "later"
    assert train(3, *words, "--output", whole)[0] == [0] * 3
    later.mkdir()
    os.link(whole / "checkpoint-000000009.pt", later / "checkpoint-000000009.pt")
    assert train(3, *words, "--output", later)[0] == [0] * 3
    assert column(later, "loss") == column(whole, "loss")[9:]
    assert len(column(later, "loss")) == 9


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path):
    processes = start(1, *SAVING, "--output", tmp_path)
    until(lambda: steps_done(tmp_path) >= 6, processes)
    processes[0].send_signal(signal.SIGINT)
    codes, said = finish(processes)
    assert codes == [130]
    assert "the same command resumes the run" in said[0]
    saved = max(int(file.stem.rpartition("-")[2]) for file in tmp_path.glob("checkpoint-*.pt"))
    assert saved == steps_done(tmp_path)
    codes, said = train(1, *SAVING, "--output", tmp_path)
    assert codes == [0]
    assert f"resuming after step {saved}" in said[0]


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_lives(tmp_path):
    processes = start(1, *SAVING, "--epochs", 300, "--output", tmp_path)
    until(lambda: steps_done(tmp_path) >= 4, processes)
    codes, said = train(1, *SAVING, "--epochs", 300, "--output", tmp_path)
    assert codes == [2]
    assert f"another run writes into it (process {processes[0].pid} on " in said[0]
    processes[0].kill()
    finish(processes)
    assert (tmp_path / "run.lock").exists()  # what a kill leaves does not block the next run
    steps = ["--steps", steps_done(tmp_path) + 4]
    codes, said = train(1, *SAVING, "--epochs", 300, *steps, "--output", tmp_path)
    assert codes == [0], said
    assert "resuming after step" in said[0]
    assert not (tmp_path / "run.lock").exists()


def test_other_options_do_not_go_on_from_a_checkpoint(tmp_path):
    assert train(1, *SAVING, "--steps", 4, "--output", tmp_path)[0] == [0]
    codes, said = train(1, *SAVING, "--output", tmp_path, "--seed", 1)
    assert codes == [2]
    assert "seed = 0, not 1" in said[0]


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_rank_that_dies_or_stops_is_named_and_ends_the_others(how, tmp_path):
    processes = start(2, *SAVING, "--epochs", 300, "--output", tmp_path, "--patience", "3 s")
    until(lambda: steps_done(tmp_path) >= 3, processes)
    processes[1].send_signal(how)
    began = time.monotonic()
    processes[0].wait(timeout=LIMIT)
    if how == signal.SIGSTOP:  # slow, for the wall-clock time: the patience, three looks and the farewell
        assert time.monotonic() - began < 15
    processes[1].kill()
    codes, said = finish(processes)
    assert codes[0] == 1
    assert len(said[0].splitlines()) == 1
    assert "rank 0 stops: no sign of life from rank 1, last in step" in said[0]


def test_a_rank_that_hangs_is_named_by_all(tmp_path):
    hanging = ["odd_models:hangs" if word == "odd_models:slow" else word for word in SAVING]
    codes, said = train(2, *hanging, "--output", tmp_path, "--patience", "3 s")
    assert codes == [1, 1]
    for rank in (0, 1):
        assert f"rank {rank} stops: rank 1 hung: no progress for 3 s, last in step 4, computing" in said[rank]


def test_when_the_rank_that_holds_the_rendezvous_dies_the_other_stops(tmp_path):
    processes = start(2, *SAVING, "--epochs", 300, "--output", tmp_path, "--patience", "3 s")
    until(lambda: steps_done(tmp_path) >= 3, processes)
    processes[0].kill()
    codes, said = finish(processes)
    assert codes[1] == 1
    assert "rank 1 stops: " in said[1]
    assert "rank 0" in said[1].partition("stops")[2]


@pytest.mark.slow
def test_torchrun_starts_it_and_kills_at_random_moments_leave_the_losses_bitwise(tmp_path):
    """Ten kills of two ranks, without looking where they are."""
    assert train(2, *SAVING, "--output", tmp_path / "whole")[0] == [0, 0]
    killed, moments = tmp_path / "killed", random.Random(0)
    for _ in range(10):
        processes = start(2, *SAVING, "--output", killed)
        goal = steps_done(killed) + moments.randint(1, 8)
        until(lambda goal=goal: steps_done(killed) >= goal, processes)
        time.sleep(moments.random() * 0.1)
        processes[moments.randint(0, 1)].kill()
        for process in processes:
            process.kill()
        finish(processes)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    arguments = [str(word) for word in [*SAVING, "--output", killed]]
    done = subprocess.run([*command, "-m", "lbsim.harness", "train", *arguments], env=environment(), check=False)
    assert done.returncode == 0
    assert losses(killed) == losses(tmp_path / "whole")
