"""Train the small CNN on scikit-learn's digits over batch sizes, rates and seeds, with the harness's own training.

    python reports/large_batch_training/measure.py              train, and write runs.csv and the figure
    python reports/large_batch_training/measure.py --decay      train the runs of decay alone, at the rates of runs.csv
    python reports/large_batch_training/measure.py --draw       draw runs.csv again, and print its means

Every run is `lbsim.harness.training.train.train` on one rank, for the same number of epochs whatever the batch.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib as mpl
import torch
from torch import nn

from lbsim.harness import models
from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.training import checkpoint
from lbsim.harness.training import data as data_sets
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train

mpl.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
DATA, MODEL = "digits", "cnn"
EPOCHS, WARM_UP = 20.0, 4.0
BATCHES = (32, 128, 479, 1437)
"""The last is the whole training set, and 479 a third of it, so that no epoch leaves samples out."""
SEEDS, TUNING_SEEDS = range(5), (100, 101)
DECAY, STRONG_DECAY = 5e-4, 5e-3
DIVERGED = 0.2
"""An accuracy no better than twice chance."""

SGD_RATES = (0.005, 0.0125, 0.03, 0.08, 0.2, 0.5)
LARS_RATES = (0.05, 0.125, 0.3, 0.8, 2.0, 5.0)
PAPER_RATES = (0.5, 1.25, 3.0, 8.0, 20.0, 50.0)
"""As many for each method, as far apart."""


@dataclass(frozen=True)
class Method:
    """One recipe, how the figure draws it, and the rates among which it is tuned."""

    label: str
    options: dict[str, Any]
    rates: tuple[float, ...]
    colour: str
    marker: str


METHODS = {
    "sgd": Method(
        "SGD",
        {"optimizer": "sgd", "schedule": "gradual-warm-up", "warm_up": 0.0},
        SGD_RATES,
        "#D55E00",
        "o",
    ),
    "sgd-warm-up": Method(
        "SGD, warm-up (Goyal)",
        {"optimizer": "sgd", "schedule": "gradual-warm-up", "warm_up": WARM_UP},
        SGD_RATES,
        "#E69F00",
        "s",
    ),
    "sgd-polynomial": Method(
        "SGD, LARS's schedule",
        {"optimizer": "sgd", "schedule": "polynomial-decay", "warm_up": WARM_UP},
        SGD_RATES,
        "#56B4E9",
        "D",
    ),
    "lars": Method(
        "LARS, ρ = 0.02",
        {"optimizer": "lars", "schedule": "polynomial-decay", "warm_up": WARM_UP, "trust": 0.02},
        LARS_RATES,
        "#0072B2",
        "^",
    ),
    "lars-0.001": Method(
        "LARS, ρ = 0.001",
        {"optimizer": "lars", "schedule": "polynomial-decay", "warm_up": WARM_UP, "trust": 0.001},
        PAPER_RATES,
        "#000000",
        "v",
    ),
}
"""Colours of Okabe and Ito, told apart by the colour-blind."""
DRAWN = ("sgd", "sgd-warm-up", "sgd-polynomial", "lars")
CASES = [*[(name, batch) for name in DRAWN for batch in BATCHES], ("lars-0.001", BATCHES[-1])]
"""What is tuned; LARS with the paper's ρ at the largest batch only."""


@dataclass(frozen=True)
class Run:
    """One training run, before it is done."""

    purpose: str
    """Tuning, scaled (rate in proportion from the smallest batch), tuned (at its own batch), or decay."""
    method: str
    batch: int
    rate: float
    seed: int
    weight_decay: float = DECAY
    decay_vectors: bool = False
    data: str = DATA
    model: str = MODEL
    epochs: float = EPOCHS


@dataclass(frozen=True)
class Result(Run):
    """One training run and how it ended."""

    validation_accuracy: float = 0.0
    whole_set_accuracy: float = 0.0
    """The same weights, with batch norm's statistics taken over the whole training set."""
    training_loss: float = 0.0
    """Mean over the last epoch."""
    validation_loss: float = 0.0
    diverged: bool = False


def result(run: Run) -> Result:
    """Train *run*."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            model=run.model,
            data=run.data,
            batch_per_gpu=run.batch,
            epochs=run.epochs,
            rate=run.rate,
            weight_decay=run.weight_decay,
            decay_vectors=run.decay_vectors,
            seed=run.seed,
            output=Path(folder),
            checkpoint_every=10**6,
            **METHODS[run.method].options,
        )
        outcome = train(options, ProcessGroup(0, 1, torch.device("cpu")), report=lambda _: None)
        with (options.output / "epochs.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        accuracy = outcome.validation_accuracy or 0.0
        return Result(
            **asdict(run),
            validation_accuracy=round(accuracy, 5),
            whole_set_accuracy=round(whole_set_accuracy(options), 5),
            training_loss=round(float(last["loss"]), 5),
            validation_loss=round(float(last["validation_loss"]), 5),
            diverged=accuracy <= DIVERGED,
        )


@torch.no_grad()
def whole_set_accuracy(options: TrainOptions) -> float:
    """Validate the last checkpoint, once batch norm has seen the whole training set."""
    data = data_sets.load(options.data, None, None)
    model = models.build_model(options.model, data.shape, data.classes)
    state = checkpoint.load_newest(options.output, lambda _: None)
    if state is None:
        raise FileNotFoundError(options.output)
    model.load_state_dict(state["model"])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model(data.training.batch(torch.arange(len(data.training)), 0)[0])
    samples, labels = data.validation.batch(torch.arange(len(data.validation)), 0)
    return float((model.eval()(samples).argmax(1) == labels).double().mean())


def measure(processes: int) -> list[Result]:
    """Tune, train and return every run."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        tuning = [
            Run("tuning", name, batch, rate, seed)
            for name, batch in CASES
            for rate in METHODS[name].rates
            for seed in TUNING_SEEDS
        ]
        tuned = results_of(tuning, pool)
        best = {case: best_rate(tuned, *case) for case in CASES}
        return tuned + results_of(final_runs(best), pool)


def final_runs(best: dict[tuple[str, int], float]) -> list[Run]:
    """Return what is trained with the rates found *best*."""
    smallest = BATCHES[0]
    tuned = [Run("tuned", *case, rate, seed) for case, rate in best.items() for seed in SEEDS]
    scaled = [
        Run("scaled", name, batch, best[name, smallest] * batch / smallest, seed)
        for name in DRAWN
        for batch in BATCHES[1:]
        for seed in SEEDS
    ]
    return tuned + scaled + decay_runs(best)


def decay_runs(best: dict[tuple[str, int], float]) -> list[Run]:
    """Return what is trained to compare decay of biases and batch norm on and off; off at DECAY is tuned."""
    return [
        Run("decay", name, batch, best[name, batch], seed, decay, decay_vectors=vectors)
        for name in ("sgd-polynomial", "lars")
        for batch in (BATCHES[0], BATCHES[-1])
        for decay, vectors in ((DECAY, True), (STRONG_DECAY, False), (STRONG_DECAY, True))
        for seed in SEEDS
    ]


def measure_decay(processes: int, known: list[Result]) -> list[Result]:
    """Train the runs of decay again and return them with the rest of *known*."""
    best = {(each.method, each.batch): each.rate for each in known if each.purpose == "tuned"}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [each for each in known if each.purpose != "decay"] + results_of(decay_runs(best), pool)


def results_of(runs: list[Run], pool: ProcessPoolExecutor) -> list[Result]:
    """Return the result of each of *runs*, training once those that compute the same."""
    different = list(dict.fromkeys(map(without_idle_warm_up, runs)))
    done = dict(zip(different, pool.map(result, different), strict=True))
    return [replace(done[without_idle_warm_up(run)], method=run.method) for run in runs]


def without_idle_warm_up(run: Run) -> Run:
    """Return *run* as plain SGD where Goyal's warm-up changes nothing: it starts at the rate for 256 samples."""
    return replace(run, method="sgd") if run.method == "sgd-warm-up" and run.batch <= 256 else run


def best_rate(results: Iterable[Result], method: str, batch: int) -> float:
    """Return the rate of the highest mean accuracy; among equals, of the lowest validation loss."""
    of: dict[float, list[Result]] = {}
    for each in results:
        if (each.method, each.batch) == (method, batch):
            of.setdefault(each.rate, []).append(each)
    return max(
        of,
        key=lambda rate: (mean(r.validation_accuracy for r in of[rate]), -mean(r.validation_loss for r in of[rate])),
    )


def write(results: Iterable[Result], file: Path) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(each) for each in results)


def read(file: Path) -> list[Result]:
    kinds = {field.name: field.type for field in fields(Result)}
    convert: dict[Any, Any] = {str: str, int: int, float: float, bool: lambda text: text == "True"}
    with file.open() as stream:
        return [
            Result(**{name: convert[kinds[name]](text) for name, text in row.items()}) for row in csv.DictReader(stream)
        ]


def print_means(results: list[Result]) -> None:
    groups: dict[tuple[object, ...], list[Result]] = {}
    for each in results:
        key = (each.purpose, each.method, each.batch, each.rate, each.weight_decay, each.decay_vectors)
        groups.setdefault(key, []).append(each)
    for what, group in groups.items():
        accuracies = [100 * each.validation_accuracy for each in group]
        whole = mean(100 * each.whole_set_accuracy for each in group)
        diverged = sum(each.diverged for each in group)
        loss = mean(each.training_loss for each in group)
        print(
            *what,
            f"{mean(accuracies):.2f} ± {stdev(accuracies):.2f} %, whole-set statistics {whole:.2f} %, "
            f"training loss {loss:.4f}, {diverged} of {len(group)} diverged",
        )


def draw(results: list[Result], where: Path) -> None:
    """Draw accuracy against batch size: with the rate scaled from the smallest batch, and tuned at each."""
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    for axis, purpose in zip(axes, ("scaled", "tuned"), strict=True):
        for offset, name in enumerate(DRAWN):
            method = METHODS[name]
            points = []
            for batch in BATCHES:
                # the smallest batch's rate is the one that the others scale
                wanted = "tuned" if batch == BATCHES[0] else purpose
                of = [r for r in results if (r.purpose, r.method, r.batch) == (wanted, name, batch)]
                accuracies = [100 * r.validation_accuracy for r in of]
                points.append((batch * 1.04 ** (offset - 1.5), mean(accuracies), stdev(accuracies)))
            axis.errorbar(
                *zip(*[point[:2] for point in points], strict=True),
                yerr=[point[2] for point in points],
                label=method.label,
                color=method.colour,
                marker=method.marker,
                capsize=3,
            )
        axis.set_xscale("log")
        axis.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
        axis.minorticks_off()
        axis.set_xlabel("batch size (samples)")
        axis.grid(alpha=0.3)
        axis.set_ylabel("validation accuracy (%)")
    axes[0].set_title("rate tuned at batch 32, then in proportion to the batch")
    axes[1].set_title("rate tuned at every batch (another scale)")
    axes[1].set_ylim(90, 100.2)
    axes[0].legend(loc="lower left")
    figure.suptitle(
        f"Small CNN with batch norm, digits, {EPOCHS:g} epochs; mean and standard deviation of {len(SEEDS)} seeds"
    )
    for suffix in ("png", "svg"):
        figure.savefig(where.with_suffix(f".{suffix}"), dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw what runs.csv holds, without training")
    parser.add_argument("--decay", action="store_true", help="train the runs of decay alone, and keep the others")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.decay:
        write(measure_decay(arguments.processes, read(HERE / "runs.csv")), HERE / "runs.csv")
    elif not arguments.draw:
        write(measure(arguments.processes), HERE / "runs.csv")
    results = read(HERE / "runs.csv")
    print_means(results)
    draw(results, HERE / "accuracy")


if __name__ == "__main__":
    main()
