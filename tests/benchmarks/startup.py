"""Time the command, and say how large it gets: python tests/benchmarks/startup.py

Whole processes alternate with the bare imports of its libraries, so that a busy machine slows both; the ratio of the
medians is what is promised (at most 2), beside at most 100 MB. Then the time of a prediction inside a process, and
how it grows from 1,024 GPUs to 1,048,576.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lbsim import Scenario, predict

CHECKOUT = Path(__file__).parents[2]
BASELINE = ["-c", "import numpy, pydantic, simpy, typer"]
COMMAND = ["-m", "lbsim.cli", "predict", "--gpus", "1024", "--model", "resnet50"]
FORMATS = {"table": [], "json": ["--format", "json"]}
REPEATS = 11


def process(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds and the peak megabytes of Python run with *arguments*."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)} exited with {child.returncode}")
    return seconds, used.ru_maxrss / 1e3


def repeated(action: Callable[[], object]) -> list[float]:
    """Return the seconds of each of several runs of *action*, after one to warm up."""
    action()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return times


def spread(times: Sequence[float]) -> str:
    """Return the median of *times* with their range."""
    return f"{statistics.median(times) * 1e3:.1f} ms ({min(times) * 1e3:.1f} to {max(times) * 1e3:.1f})"


def whole_processes() -> None:
    """Print the time and memory of the command beside those of the bare imports."""
    for name, extra in FORMATS.items():
        process(BASELINE), process([*COMMAND, *extra])
        pairs = [(process(BASELINE), process([*COMMAND, *extra])) for _ in range(REPEATS)]
        baseline, command = ([pair[which][0] for pair in pairs] for which in (0, 1))
        ratio = statistics.median(command) / statistics.median(baseline)
        peak = max(pair[1][1] for pair in pairs)
        print(f"predict, {name}: {spread(command)}; imports: {spread(baseline)}; ratio {ratio:.2f}; peak {peak:.0f} MB")


def in_process() -> None:
    """Print the time of a prediction for ever more GPUs, without reading profiles again."""
    medians = {}
    for gpus in (1_024, 1_048_576):
        scenario = Scenario.of(gpus=gpus, model="resnet50")
        times = repeated(lambda scenario=scenario: predict(scenario))  # type: ignore[misc]
        medians[gpus] = statistics.median(times)
        print(f"in-process, {gpus:,} GPUs: {spread(times)}")
    print(f"1,048,576 against 1,024 GPUs: ratio {medians[1_048_576] / medians[1_024]:.2f}")


if __name__ == "__main__":
    whole_processes()
    in_process()
