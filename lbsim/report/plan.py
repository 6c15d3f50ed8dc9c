"""Figure of ``lbsim plan``: time to the target accuracy, throughput and goodput, over GPUs."""

import io
from pathlib import Path

import matplotlib as mpl

from lbsim.accuracy.training_option import TimeToAccuracy
from lbsim.atomic_write import write_atomically
from lbsim.errors import InputError

mpl.use("Agg")
from matplotlib import pyplot

__all__ = ["draw"]

_HOUR = 3600.0


def draw(choices: TimeToAccuracy, file: Path) -> None:
    """Plot time to the target, throughput and goodput over GPUs, and write *file* (.png, .svg or .pdf).

    Raises InputError for another format, or if the file cannot be written.
    """
    if file.suffix.lstrip(".") not in {"png", "svg", "pdf"}:
        raise InputError(f"--figure {file}: write a name that ends in .png, .svg or .pdf")
    rows = choices.options
    gpus = [row.gpus for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    middle = [row.run.time.value / _HOUR for row in rows]
    below = [(row.run.time.value - row.run.time.low) / _HOUR for row in rows]
    above = [(row.run.time.high - row.run.time.value) / _HOUR for row in rows]
    left.errorbar(gpus, middle, yerr=[below, above], marker="o", capsize=3, color="#0072B2", label="90 % of runs")
    front = [row for row in rows if row.on_front]
    left.plot(
        [row.gpus for row in front],
        [row.run.time.value / _HOUR for row in front],
        "o",
        mfc="none",
        ms=11,
        color="#D55E00",
        label="on the time-cost front",
    )
    left.set_ylabel("time to target (h)")
    right.plot(gpus, [row.prediction.throughput for row in rows], "s--", color="#56B4E9", label="throughput")
    right.plot(gpus, [row.goodput for row in rows], "o-", color="#0072B2", label="goodput")
    right.set_ylabel("samples/s")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(gpus, [str(count) for count in gpus], rotation=45)
        axis.minorticks_off()
        axis.set_xlabel("GPUs")
        axis.grid(alpha=0.3)
        axis.legend()
    scenario = choices.chosen.prediction.scenario
    share = "" if choices.request.confidence is None else f" in {choices.request.confidence:.0%} of runs"
    figure.suptitle(
        f"{Path(scenario.model).name} to {choices.request.target:g} % top-1{share} on {scenario.cluster.name}"
    )
    content = io.BytesIO()
    figure.savefig(content, format=file.suffix.removeprefix("."), dpi=130)
    pyplot.close(figure)
    write_atomically(content.getvalue(), file)
