"""Prediction of the larger batches of runs.csv from the three smallest; prints the errors and draws a figure.

python reports/time_to_accuracy/predict.py
"""

import csv
from pathlib import Path
from statistics import mean, median, stdev

import matplotlib as mpl
import numpy as np

from lbsim.accuracy.convergence_fit import fit_work

mpl.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
SMALLEST = 3
SAMPLES = 1437


def main() -> None:
    epochs: dict[int, list[float]] = {}
    seconds: dict[int, list[float]] = {}
    with (HERE / "runs.csv").open() as file:
        for row in csv.DictReader(file):
            if row["purpose"] == "measured":
                epochs.setdefault(int(row["batch"]), []).append(float(row["epochs"]))
    with (HERE / "seconds.csv").open() as file:
        for row in csv.DictReader(file):
            seconds.setdefault(int(row["batch"]), []).append(float(row["cpu_seconds"]))
    batches = sorted(epochs)
    law = fit_work(batches[:SMALLEST], [mean(epochs[batch]) for batch in batches[:SMALLEST]])
    # an epoch has a cost per sample and a cost per step
    steps = [SAMPLES // batch for batch in batches[:SMALLEST]]
    per_step, per_epoch = np.polyfit(steps, [median(seconds[batch]) for batch in batches[:SMALLEST]], 1)
    print("batch  epochs measured  predicted (90 %)         error  CPU s measured  predicted  error")
    errors, inside, times = [], 0, []
    for batch in batches:
        own, estimate = mean(epochs[batch]), law.work(batch)
        own_time, time = own * median(seconds[batch]), estimate.value * (per_epoch + per_step * (SAMPLES // batch))
        print(
            f"{batch:5}  {own:5.2f} ± {stdev(epochs[batch]):.2f}    {estimate.value:5.2f} ({estimate.low:5.2f} to "
            f"{estimate.high:5.2f})  {estimate.value / own - 1:+6.1%}  "
            f"{own_time:8.3f}  {time:12.3f}  {time / own_time - 1:+6.1%}"
        )
        if batch in batches[SMALLEST:]:
            errors.append(abs(estimate.value / own - 1))
            times.append(abs(time / own_time - 1))
            inside += estimate.low <= own <= estimate.high
    print(
        f"larger batches: epochs off by {mean(errors):.1%} on average, {max(errors):.1%} at most, {inside} inside 90 %"
    )
    print(f"                CPU time off by {mean(times):.1%} on average, {max(times):.1%} at most")
    draw(batches, epochs)


def draw(batches: list[int], epochs: dict[int, list[float]]) -> None:
    law = fit_work(batches[:SMALLEST], [mean(epochs[batch]) for batch in batches[:SMALLEST]])
    grid = [batches[0] * (batches[-1] / batches[0]) ** (step / 40) for step in range(41)]
    estimates = [law.work(batch) for batch in grid]
    figure, axis = pyplot.subplots(figsize=(7, 4.4), layout="constrained")
    low, high = [e.low for e in estimates], [e.high for e in estimates]
    axis.fill_between(grid, low, high, color="#56B4E9", alpha=0.3, label="predicted, 90 %")
    axis.plot(grid, [e.value for e in estimates], color="#0072B2", label="predicted from the three smallest")
    for some, colour, label in (
        (batches[:SMALLEST], "#000000", "measured, fitted to"),
        (batches[SMALLEST:], "#D55E00", "measured, not fitted to"),
    ):
        middle, spread = [mean(epochs[b]) for b in some], [stdev(epochs[b]) for b in some]
        axis.errorbar(some, middle, yerr=spread, fmt="o", color=colour, capsize=3, label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axis.minorticks_off()
    axis.set_xlabel("batch size (samples)")
    axis.set_ylabel("epochs to 97 % validation accuracy")
    axis.set_title("Small CNN on digits; mean and standard deviation of 5 seeds")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left")
    figure.savefig(HERE / "epochs.png", dpi=120)


if __name__ == "__main__":
    main()
