"""Fit the compute law to the published single-GPU rates, and measure how well it predicts what it has not seen.

    python reports/single_gpu_fit/fit.py                       print the fit
    python reports/single_gpu_fit/fit.py --leave-out source    and what it makes of a source it has not seen
    python reports/single_gpu_fit/fit.py --write               and write the values into hardware_profiles

What is fitted, in the logarithm, each with a prior around where it starts: the efficiencies of the mathematics
library (`hardware_profiles/kernels/cudnn.toml`), the time a kernel of each software, and how fast each architecture,
card and software is compared with the law. Rows whose role is ``validate`` are not used.
"""

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from lbsim.anchor import measured_factor
from lbsim.case import case_files, read_case_file
from lbsim.catalog import PUBLISHED_CASES, SHIPPED_PROFILES, Folders
from lbsim.compute import arithmetic_class, compute_times
from lbsim.hardware import Accelerator, Speed
from lbsim.question import ask
from lbsim.scenario import Anchor, Scenario

HERE = Path(__file__).parent
KERNELS = "cudnn"
NOISE = 0.06
"""Spread of the logarithm of a rate between runs of one framework by others, about."""
KERNEL_PRIORS = {
    "vector_efficiency": (0.72, 0.11),
    "winograd_speedup": (2.25, 0.1),  # the products that the algorithm saves
    "tensor_efficiency": (0.31, 0.2),
    "tensor_falloff": (0.66, 0.2),
    "tensor_square_speedup": (1.5, 0.2),
    "memory_efficiency": (0.79, 0.1),  # what STREAM reaches
    "backward_efficiency": (0.78, 0.1),
    "channel_exponent": (1.0, 0.4),
}
"""Fitted fields of the kernels' profile: where each starts, and the spread of its prior."""
ALL_CORES = ("vector", "tf32", "tensor")
CPUS = {"KNL", "SKX"}
"""Architectures with another mathematics library, see `write_nodes`."""
KERNEL_TIMES = {"old": 22e-6, "current": 12e-6, "mlperf": 5e-6}
"""Where the kernel time of a software starts: of 2016-17, since, and tuned for MLPerf."""
MOST_EFFICIENT = 0.95
"""Of a rated figure; more than all of it would be unphysical, and the architectures' speeds can take the rest."""
CORES, ARCHITECTURE, CARD, SOFTWARE, KERNEL_TIME = 0.5, 0.15, 0.06, 0.1, 0.3
"""Spread of the priors of the other groups."""


@dataclass
class Row:
    """One published rate and the scenario it belongs to."""

    system: str
    id: str
    quantity: str
    scenario: Scenario
    seconds: float
    """Observed, of a step or of the part of it that was observed."""

    @property
    def cores(self) -> str:
        """On which cores the products run."""
        return arithmetic_class(self.scenario.cluster.accelerator, self.scenario.plan)

    @property
    def effects(self) -> tuple[str, str, str, str]:
        """The speeds that multiply this row: of the class of cores, the architecture, the card and the software."""
        card = self.scenario.cluster.accelerator
        return (
            f"cores {self.cores}",
            f"architecture {card.architecture} {self.cores}",
            f"card {card.name}",
            f"software {self.scenario.software.name} {self.cores}",
        )


def rows(role: str) -> list[Row]:
    """Return the published single-GPU rates of *role*."""
    found = []
    for file in case_files(PUBLISHED_CASES):
        content = read_case_file(file)
        for observed in content.observed:
            if not observed.class_.startswith("single GPU") or observed.role != role or observed.relative_to:
                continue
            scenario = ask(content.scenario, observed.set, Folders(beside=file.parent))
            seconds = _seconds(scenario, observed.quantity, observed.si)
            found.append(Row(content.system, observed.id, observed.quantity, scenario, seconds))
    return found


def _seconds(scenario: Scenario, quantity: str, value: float) -> float:
    """Return the seconds of a step that the observed *value* means."""
    plan = scenario.plan
    if quantity == "throughput":
        return plan.batch_per_gpu / value
    if quantity == "time_to_train":
        return value * plan.batch_per_gpu / (plan.epochs * scenario.workload.samples)
    return value


@dataclass
class Fit:
    """The parameters by name, in the logarithm relative to where they start, and how to predict with them."""

    data: list[Row]
    names: list[str] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Collect the parameters that these rows tell something about."""
        groups = [(f"kernels {name}", spread) for name, (_, spread) in KERNEL_PRIORS.items()]
        softwares = sorted({row.scenario.software.name for row in self.data})
        groups += [(f"kernel_time {name}", KERNEL_TIME) for name in softwares]
        for position, spread in enumerate((CORES, ARCHITECTURE, CARD, SOFTWARE)):
            groups += [(name, spread) for name in sorted({row.effects[position] for row in self.data})]
        self.names = [name for name, _ in groups]
        self.spreads = [spread for _, spread in groups]

    def seconds(self, row: Row, values: dict[str, float]) -> float:
        """Return what the law says of *row* with the parameters at *values*; unknown ones stay where they start."""
        scenario, software, card = row.scenario, row.scenario.software, row.scenario.cluster.accelerator
        software = software.model_copy(
            update={
                "kernels": software.kernels.model_copy(update=kernels(values)),
                "kernel_time": kernel_time(software.name, values),
                "speed": Speed(),
            }
        )
        cluster = scenario.cluster.model_copy(update={"accelerator": card.model_copy(update={"speed": Speed()})})
        scenario = scenario.model_copy(update={"software": software, "cluster": cluster})
        times = compute_times(scenario)
        times = times.scaled(math.exp(-sum(values.get(name, 0.0) for name in row.effects)))
        if row.quantity.startswith("breakdown"):
            part: float = getattr(times, row.quantity.removeprefix("breakdown."))
            return part
        return times.input_overhead + times.forward + times.backward + times.update

    def solve(self, train: Iterable[Row], start: np.ndarray | None = None) -> np.ndarray:
        """Return the parameters that fit *train* best, robustly."""
        train = list(train)
        names, spreads = self.names, np.array(self.spreads)
        touches = {name: [i for i, row in enumerate(train) if self._touches(name, row)] for name in names}

        def logs(values: np.ndarray, which: Iterable[int]) -> list[float]:
            named = dict(zip(names, values, strict=True))
            return [math.log(self.seconds(train[i], named) / train[i].seconds) for i in which]

        def residuals(values: np.ndarray) -> np.ndarray:
            return np.concatenate([np.array(logs(values, range(len(train)))) / NOISE, values / spreads])

        def jacobian(values: np.ndarray) -> np.ndarray:
            here = residuals(values)
            matrix = np.zeros((here.size, values.size))
            for column, name in enumerate(names):
                matrix[len(train) + column, column] = 1 / spreads[column]
                if touches[name]:
                    moved = values.copy()
                    moved[column] += 1e-4
                    matrix[touches[name], column] = (
                        np.array(logs(moved, touches[name])) / NOISE - here[touches[name]]
                    ) / 1e-4
            return matrix

        first = np.zeros(len(names)) if start is None else start
        most = np.full(len(names), np.inf)
        for column, name in enumerate(name.removeprefix("kernels ") for name in names):
            if name.endswith("_efficiency"):
                most[column] = math.log(MOST_EFFICIENT / KERNEL_PRIORS[name][0])
        solution = least_squares(
            residuals,
            np.minimum(first, most - 1e-6),
            jac=jacobian,
            bounds=(-np.inf, most),
            loss="soft_l1",
            max_nfev=25,
            xtol=1e-4,
            ftol=1e-4,
        )
        return np.asarray(solution.x)

    def _touches(self, name: str, row: Row) -> bool:
        kind, _, rest = name.partition(" ")
        if kind == "kernels":
            return True
        return row.scenario.software.name == rest if kind == "kernel_time" else name in row.effects

    def errors(self, test: Iterable[Row], values: np.ndarray) -> np.ndarray:
        """Return the logarithms of predicted over observed."""
        named = dict(zip(self.names, values, strict=True))
        return np.array([math.log(self.seconds(row, named) / row.seconds) for row in test])


def kernels(values: dict[str, float]) -> dict[str, float]:
    """Return the fields of the kernels' profile with the parameters at *values*."""
    return {name: start * math.exp(values.get(f"kernels {name}", 0.0)) for name, (start, _) in KERNEL_PRIORS.items()}


def kernel_time(software: str, values: dict[str, float]) -> float:
    """Return the seconds a kernel of *software* with the parameters at *values*."""
    era = "old" if software.endswith(("2016", "2017")) else "mlperf" if "mlperf" in software else "current"
    return KERNEL_TIMES[era] * math.exp(values.get(f"kernel_time {software}", 0.0))


GROUPS: dict[str, Callable[[Row], str]] = {
    "source": lambda row: row.system,
    "card": lambda row: row.scenario.cluster.accelerator.name,
    "model": lambda row: row.scenario.model,
}


def left_out(fit: Fit, start: np.ndarray, group: Callable[[Row], str]) -> dict[str, np.ndarray]:
    """Return each row's error, by class of arithmetic, when its whole group was not in the fit."""
    found: dict[str, list[float]] = {"vector": [], "tf32": [], "tensor": []}
    for name in sorted({group(row) for row in fit.data}):
        test = [row for row in fit.data if group(row) == name]
        values = fit.solve([row for row in fit.data if group(row) != name], start)
        for row, error in zip(test, fit.errors(test, values), strict=True):
            found[row.cores].append(float(error))
        print(f"  without {name}: {summary(fit.errors(test, values))}", file=sys.stderr)
    return {cores: np.array(errors) for cores, errors in found.items()}


def summary(errors: np.ndarray) -> str:
    """Return mean and worst error of time in per cent, and the half-width that holds 90 %."""
    relative = np.abs(np.expm1(errors))
    q90 = np.quantile(np.abs(errors), 0.9)
    return f"n {errors.size}, mean {relative.mean():.1%}, worst {relative.max():.1%}, q90 {q90:.2f}"


def write(fit: Fit, values: np.ndarray) -> None:
    """Write the fitted values into the profiles, and the rows' residuals beside this script."""
    named = dict(zip(fit.names, values, strict=True))
    errors = fit.errors(fit.data, values)
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
                    cores: round(math.exp(named[f"software {name} {cores}"]), 3)
                    for cores in ALL_CORES
                    if f"software {name} {cores}" in named
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
            predicted = row.seconds * math.exp(error)
            cells = [f"{row.seconds:.6g}", f"{predicted:.6g}", f"{math.expm1(error):.4f}"]
            sheet.writerow([row.system, row.id, row.quantity, row.cores, *cells])


def software_of(row: Row) -> str:
    """Return the name of the software of *row*."""
    return row.scenario.software.name


def _on(name: str, fit: Fit, errors: np.ndarray, of: Callable[[Row], str]) -> str:
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
        scenario = ask(content.scenario, observed.set)
        plan, card = scenario.plan, scenario.cluster.accelerator
        rate = observed.si
        if observed.quantity == "time_to_train":
            rate = plan.epochs * scenario.workload.samples / observed.si
        anchor = Anchor(throughput=rate, gpus=plan.gpus)
        speed = card.speed.vector / measured_factor(scenario, compute_times(scenario), anchor)
        told = f"{rate / plan.gpus:.1f} samples/s a node ({observed.id})"
        note = f"speed by reports/single_gpu_fit/fit.py, on one rate: {told}"
        put(
            SHIPPED_PROFILES / "accelerators" / f"{card.name}.toml",
            {"fitted_rates": 1, "speed": {"vector": round(speed, 3)}},
            note,
        )


def speeds(named: dict[str, float], card: Accelerator) -> dict[str, float]:
    """Return the speeds of *card* by class of cores: the class's, its architecture's and its own, as far as known."""
    has = {"vector": True, "tf32": card.peak.tf32 is not None, "tensor": card.tensor_cores}
    return {
        cores: round(
            math.exp(
                named.get(f"cores {cores}", 0.0)
                + named.get(f"architecture {card.architecture} {cores}", 0.0)
                + named.get(f"card {card.name}", 0.0)
            ),
            3,
        )
        for cores in ALL_CORES
        if has[cores]
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
    fit = Fit(rows("calibrate"))
    values = fit.solve(fit.data)
    for name, value in zip(fit.names, values, strict=True):
        print(f"{name:45} x {math.exp(value):.3f}")
    errors = fit.errors(fit.data, values)
    print(f"in the fit: {summary(errors)}")
    for cores in ALL_CORES:
        of_class = np.array([error for row, error in zip(fit.data, errors, strict=True) if row.cores == cores])
        print(f"  {cores}: {summary(of_class)}")
    for what in arguments.leave_out:
        by_cores = left_out(fit, values, GROUPS[what])
        print(f"without a {what}: {summary(np.concatenate(list(by_cores.values())))}")
        for cores, found in by_cores.items():
            print(f"  {cores}: {summary(found)}")
    if arguments.write:
        write(fit, values)
        write_nodes()


if __name__ == "__main__":
    main()
