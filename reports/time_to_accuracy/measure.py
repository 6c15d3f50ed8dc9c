"""Measurement of the epochs to a target by batch: the small CNN on scikit-learn's digits.

    python reports/time_to_accuracy/measure.py              train, and write runs.csv
    python reports/time_to_accuracy/measure.py --time       write seconds.csv, what an epoch costs at each batch

Every run is `lbsim.harness.training.train.train` on one rank at a constant rate, which is tuned at each batch on other
seeds.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean
from time import process_time

import torch

from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train

HERE = Path(__file__).parent
TARGET = 0.97
EPOCHS = 12.0
BATCHES = (32, 64, 128, 256, 359, 479, 718)
"""Batches; the last three divide the 1,437 samples by four, three and two, so that an epoch uses all samples."""
RATES = (0.0125, 0.03, 0.08, 0.2, 0.5)
ROUNDS = 4
SEEDS, TUNING_SEEDS = range(5), (100, 101)


@dataclass(frozen=True)
class Run:
    """One training run and its epochs to the target."""

    purpose: str
    """Purpose of the run: ``tuning`` or ``measured``."""
    batch: int
    rate: float
    seed: int
    epochs: float
    """Epochs to the target, interpolated between two validations; all trained epochs if it was not reached."""
    reached: bool
    cpu_seconds: float
    """Mean CPU seconds per epoch, with validation."""


def measured(purpose: str, batch: int, rate: float, seed: int) -> Run:
    seconds, accuracies = trained(batch, rate, seed, EPOCHS)
    epochs, each = crossing(accuracies), round(seconds / EPOCHS, 4)
    return Run(purpose, batch, rate, seed, round(epochs or EPOCHS, 4), epochs is not None, each)


def trained(batch: int, rate: float, seed: int, epochs: float) -> tuple[float, list[float]]:
    """Return the CPU seconds of a run, and its validation accuracy after each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            model="cnn",
            data="digits",
            batch_per_gpu=batch,
            epochs=epochs,
            optimizer="sgd",
            schedule="constant",
            rate=rate,
            weight_decay=5e-4,
            seed=seed,
            output=Path(folder),
            checkpoint_every=10**6,
        )
        start = process_time()
        train(options, ProcessGroup(0, 1, torch.device("cpu")), report=lambda _: None)
        seconds = process_time() - start
        with (options.output / "epochs.csv").open() as file:
            return seconds, [float(row["validation_accuracy"]) for row in csv.DictReader(file)]


def timed() -> None:
    """Write the CPU seconds per epoch: of twelve epochs less those of four, over eight.

    Batches alternate, so that all have the same load beside them.
    """
    with (HERE / "seconds.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("round", "batch", "cpu_seconds"))
        for number in range(ROUNDS):
            for batch in BATCHES:
                long, short = (trained(batch, 0.08, 0, epochs)[0] for epochs in (12.0, 4.0))
                writer.writerow((number, batch, round((long - short) / 8, 5)))


def crossing(accuracies: list[float]) -> float | None:
    """Return the epochs after which the target is first reached, interpolated between two validations."""
    before = 0.1  # ten classes, untrained
    for epoch, accuracy in enumerate(accuracies):
        if accuracy >= TARGET:
            return epoch + (TARGET - before) / (accuracy - before)
        before = accuracy
    return None


def measure() -> Iterable[Run]:
    for batch in BATCHES:
        tuning = [measured("tuning", batch, rate, seed) for rate in RATES for seed in TUNING_SEEDS]
        yield from tuning
        best = min(RATES, key=lambda rate: mean(run.epochs for run in tuning if run.rate == rate))
        for seed in SEEDS:
            yield measured("measured", batch, best, seed)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true", help="write only seconds.csv")
    if parser.parse_args().time:
        timed()
        return
    with (HERE / "runs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Run)], lineterminator="\n")
        writer.writeheader()
        for run in measure():
            writer.writerow(asdict(run))
            stream.flush()


if __name__ == "__main__":
    main()
