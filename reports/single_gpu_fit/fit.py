"""Fit the compute law to the published single-GPU rates, and measure how well it predicts what it has not seen.

    python reports/single_gpu_fit/fit.py                       print the fit
    python reports/single_gpu_fit/fit.py --leave-out source    and what it makes of a source it has not seen
    python reports/single_gpu_fit/fit.py --write               and write the values into hardware_profiles

What is fitted, and how, say `lbsim/evaluation/single_gpu/rates.py` and `single_gpu_fit.py`: the efficiencies of the
mathematics library (`hardware_profiles/kernels/cudnn.toml`), the time a kernel of each software, and how fast each
architecture, card and software is compared with the law. Rates whose role is ``validate`` are not used.
"""

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from lbsim.compute.roofline import compute_times
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.leave_out import GROUPS, folds, from_another_model, left_out
from lbsim.evaluation.single_gpu.rates import Values, cores, kernel_time, kernels, rates, residual
from lbsim.measurements.case import read_case_file
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES, SHIPPED_PROFILES
from lbsim.profiles.hardware import Accelerator
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Anchor
from lbsim.simulation.anchor import factor_as_measured

HERE = Path(__file__).parent
KERNELS = "cudnn"
ALL_CORES = ("vector", "tf32", "tensor")
CPUS = {"KNL", "SKX"}
"""Architectures with another mathematics library, see `write_nodes`."""


def without_each(fit: Fit, group: str) -> tuple[list[Residual], list[Residual]]:
    """Return each rate's error when its whole *group* was not in the fit, and with another model as its anchor."""
    alone, anchored = [], []
    for unseen, values in folds(fit, group):
        found = left_out(unseen, values)
        print(f"  without {GROUPS[group](unseen[0])}: {summary(one.logarithm for one in found)}", file=sys.stderr)
        alone += found
        anchored += from_another_model(unseen, values)
    return alone, anchored


def summary(errors: Iterable[float]) -> str:
    """Return mean and worst error of time in per cent, and the half-width that holds 90 %."""
    found = np.array(list(errors))
    relative = np.abs(np.expm1(found))
    q90 = np.quantile(np.abs(found), 0.9)
    return f"n {found.size}, mean {relative.mean():.1%}, worst {relative.max():.1%}, q90 {q90:.2f}"


def write(fit: Fit) -> None:
    """Write the fitted values into the profiles, and the rows' residuals beside this script."""
    named = fit.values
    errors = np.array([residual(rate, named).logarithm for rate in fit.data])
    remaining = f"mean error {np.abs(np.expm1(errors)).mean():.1%} on the {errors.size} rows of the fit"
    note = f"by reports/single_gpu_fit/fit.py on published single-GPU rates; {remaining}"
    put(SHIPPED_PROFILES / "kernels" / f"{KERNELS}.toml", kernels(named), f"efficiencies and exponents {note}")
    counts = Counter(row.scenario.software.name for row in fit.data)
    for name in counts:
        put(
            SHIPPED_PROFILES / "software" / f"{name}.toml",
            {
                "fitted_rates": counts[name],
                "kernel_time": f"{kernel_time(name, named) * 1e6:.3g} us",
                "speed": {
                    kind: round(math.exp(named[f"software {name} {kind}"]), 3)
                    for kind in ALL_CORES
                    if f"software {name} {kind}" in named
                },
            },
            f"kernel_time and speed {note}{_on(name, fit, errors, software_of)}",
        )
    cards = Counter(row.scenario.cluster.accelerator.name for row in fit.data)
    for file in sorted((SHIPPED_PROFILES / "accelerators").glob("*.toml")):
        card = Accelerator.load(file.stem)
        if card.architecture in CPUS:
            continue
        told = f"speed {note}{_on(file.stem, fit, errors, GROUPS['card'])}"
        put(file, {"fitted_rates": cards[file.stem], "speed": speeds(named, card)}, told)
    with (HERE / "residuals.csv").open("w", newline="") as out:
        sheet = csv.writer(out)
        sheet.writerow(["system", "id", "quantity", "cores", "observed_s", "predicted_s", "relative_error"])
        for row, error in zip(fit.data, errors, strict=True):
            predicted = row.value * math.exp(error)
            cells = [f"{row.value:.6g}", f"{predicted:.6g}", f"{math.expm1(error):.4f}"]
            sheet.writerow([row.case.system, row.case.id, row.case.quantity, cores(row), *cells])


def software_of(row: Observation) -> str:
    """Return the name of the software of *row*."""
    return row.scenario.software.name


def _on(name: str, fit: Fit, errors: np.ndarray, of: Callable[[Observation], str]) -> str:
    """Return the mean error on the rows of the fit that are of *name*, for the note in its profile."""
    own = np.array([error for row, error in zip(fit.data, errors, strict=True) if of(row) == name])
    if not own.size:
        return "; none of them is its own, its speed is its architecture's"
    return f", {np.abs(np.expm1(own)).mean():.1%} on the {own.size} of its own"


def write_nodes() -> None:
    """Set the speed of the CPU nodes with which the one rate of each comes out as published.

    Codreanu et al. give it, at 1024 KNL and at 64 Xeon nodes; their communication is as predicted.
    """
    content = read_case_file(PUBLISHED_CASES / "codreanu2017.toml")
    for observed in content.observed:
        scenario = build_scenario(content.scenario, observed.set)
        plan, card = scenario.plan, scenario.cluster.accelerator
        rate = observed.si
        if observed.quantity == "time_to_train":
            rate = plan.epochs * scenario.workload.samples / observed.si
        anchor = Anchor(throughput=rate, gpus=plan.gpus)
        speed = card.speed.vector / factor_as_measured(scenario, compute_times(scenario), anchor)
        told = f"{rate / plan.gpus:.1f} samples/s a node ({observed.id})"
        note = f"speed by reports/single_gpu_fit/fit.py, on one rate: {told}"
        put(
            SHIPPED_PROFILES / "accelerators" / f"{card.name}.toml",
            {"fitted_rates": 1, "speed": {"vector": round(speed, 3)}},
            note,
        )


def speeds(named: Values, card: Accelerator) -> dict[str, float]:
    """Return the speeds of *card* by class of cores: the class's, its architecture's and its own, as far as known."""
    has = {"vector": True, "tf32": card.peak.tf32 is not None, "tensor": card.tensor_cores}
    return {
        kind: round(
            math.exp(
                named.get(f"cores {kind}", 0.0)
                + named.get(f"architecture {card.architecture} {kind}", 0.0)
                + named.get(f"card {card.name}", 0.0)
            ),
            3,
        )
        for kind in ALL_CORES
        if has[kind]
    }


def put(file: Path, values: Mapping[str, float | str | dict[str, float]], note: str) -> None:
    """Set fields of the profile *file*, which it may have already, and what says how they were calibrated."""
    lines = file.read_text().splitlines()
    for name, value in {**values, "calibrated": note}.items():
        text = f"{name} = {toml(value)}"
        place = next((i for i, line in enumerate(lines) if line.startswith(f"{name} =")), None)
        if place is None:
            table = next((i for i, line in enumerate(lines) if line.startswith("[")), len(lines))
            lines.insert(table - 1 if table < len(lines) else table, text)
        else:
            lines[place] = text
    file.write_text("\n".join(lines) + "\n")


def toml(value: float | str | dict[str, float]) -> str:
    """Return *value* as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else f"{value:.4g}"


def main() -> None:
    """Fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write the values into hardware_profiles")
    parser.add_argument("--leave-out", nargs="*", choices=list(GROUPS), default=[], help="fit without each, predict it")
    arguments = parser.parse_args()
    fit = Fit(rates("calibrate"))
    for name, value in fit.values.items():
        print(f"{name:45} x {math.exp(value):.3f}")
    errors = [(cores(rate), residual(rate, fit.values).logarithm) for rate in fit.data]
    print(f"in the fit: {summary(error for _, error in errors)}")
    for kind in ALL_CORES:
        print(f"  {kind}: {summary(error for own, error in errors if own == kind)}")
    for what in arguments.leave_out:
        found, anchored = without_each(fit, what)
        print(f"without a {what}: {summary(one.logarithm for one in found)}")
        for kind in ALL_CORES:
            print(f"  {kind}: {summary(one.logarithm for one in found if cores(one.observation) == kind)}")
        if what == "source":
            print(f"  anchored on another model: {summary(one.logarithm for one in anchored)}")
    if arguments.write:
        write(fit)
        write_nodes()


if __name__ == "__main__":
    main()
