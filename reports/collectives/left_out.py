"""Errors on published collectives that the costs were not fitted to.

Run: python reports/collectives/left_out.py

Each fold leaves one size, one number of GPUs of a system, or one system out, fits the five constants of each chip,
algorithm and protocol to the other cases of traces/collectives, and predicts the fold. The phases are those of lbsim's
algorithms, the protocol is its tuning model's, and the launch is that of the benchmark, not of the system. The
constants start from one set of round numbers for all chips, not from those that ship.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from lbsim.communication.collective_time import time_collective
from lbsim.communication.operations import OPERATIONS
from lbsim.measurements.case import case_files, case_observation, read_case_file

CASES = Path(__file__).parents[2] / "traces" / "collectives"
SPREAD = np.array([0.5, 0.7, 0.3, 0.7, 1.2])
"""Standard deviations of the logs of start, step latency, efficiency, copies and approach about their prior."""
PRIOR = {
    ("ring", "LL"): (7, 0.8, 0.4, 1, 0.5),
    ("ring", "LL128"): (14, 0.8, 0.7, 0.5, 1),
    ("ring", "Simple"): (15, 5, 0.8, 0.5, 1),
    ("nvls", "Simple"): (10, 1, 0.75, 0.3, 20),
    ("direct", "LL"): (8, 0.2, 0.2, 0.3, 0.1),
    ("direct", "few channels"): (9, 0.3, 0.27, 0.5, 0.1),
    ("direct", "Simple"): (9, 0.3, 0.8, 0.5, 5),
}
"""Prior medians of the constants on any chip, times in us, by algorithm and protocol."""
NOISE = 0.04
LARGE = 2.0**20

Constants = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One case as its constants see it."""

    system: str
    gpus: int
    message: float
    family: tuple[str, str, str]
    """Chip, algorithm and protocol."""
    phases: NDArray[np.float64]
    """Steps, bytes sent and bytes of the own shard of each of two phases, the second possibly zero; shape (3, 2)."""
    bandwidth: float
    launch: float
    seconds: float


def prior(family: tuple[str, str, str]) -> Constants:
    """Return the logs of the prior medians of *family* in SI units."""
    return np.asarray(np.log(np.array(PRIOR[family[1:]]) * [1e-6, 1e-6, 1, 1, 1e-6]), dtype=np.float64)


def rows() -> list[Row]:
    """Return the cases of traces/collectives."""
    found = []
    for file in case_files(CASES):
        case = read_case_file(file)
        for entry in case.observed:
            observation = case_observation(file, case, entry)
            scenario, message = observation.scenario, float(entry.message or 0)
            operation = OPERATIONS[entry.quantity.removesuffix("_time").replace("_", "-")]
            timing = time_collective(scenario, message, operation)
            protocol, phases = timing.fabric.protocol, timing.collective.phases
            if protocol is None:
                raise ValueError(f"{entry.id}: its library has no costs per protocol")
            features = np.zeros((3, 2))
            features[:, : len(phases)] = np.array([(phase.steps, phase.sent, phase.own) for phase in phases]).T
            chip = (protocol.architectures or ("",))[0]
            library, link = scenario.software.library, scenario.cluster.intra_node
            found.append(
                Row(
                    case.system,
                    scenario.plan.gpus,
                    message,
                    (chip, protocol.algorithms[0], protocol.name),
                    features,
                    link.bandwidth,
                    library.launch,
                    entry.si,
                )
            )
    return found


def times(logs: Constants, some: list[Row]) -> Constants:
    """Return the predicted seconds of *some* rows of one family with the logs of its constants."""
    start, step, efficiency, copies, approach = np.exp(logs)
    steps, sent, own = np.array([row.phases for row in some]).transpose(1, 0, 2)
    wire = (sent + copies * own) / (efficiency * np.array([[row.bandwidth] for row in some]))
    launch = np.array([row.launch for row in some])
    return np.asarray(launch + start + (np.hypot(step * steps, wire) + np.sqrt(approach * wire)).sum(axis=1))


def fitted(some: list[Row]) -> Constants:
    """Return the logs of the constants that fit *some* rows of one family; a row of a frequent system weighs less."""
    start, measured = prior(some[0].family), np.log([row.seconds for row in some])
    counts = {system: sum(row.system == system for row in some) for system in {row.system for row in some}}
    weight = np.array([min(1.0, (40 / counts[row.system]) ** 0.5) for row in some]) / NOISE

    def residuals(logs: Constants) -> Constants:
        return np.concatenate([weight * (np.log(times(logs, some)) - measured), (logs - start) / SPREAD])

    return np.asarray(least_squares(residuals, start, loss="soft_l1", max_nfev=40).x)


def left_out(all_rows: list[Row], fold: Callable[[Row], Hashable]) -> tuple[list[Row], Constants]:
    """Return the rows and their errors, predicted over measured less 1, each from constants fitted without its fold."""
    families, done, errors = defaultdict(list), [], []
    for row in all_rows:
        families[row.family].append(row)
    for family in families.values():
        for name in {fold(row) for row in family}:
            rest, out = [row for row in family if fold(row) != name], [row for row in family if fold(row) == name]
            logs = fitted(rest) if rest else prior(out[0].family)
            done += out
            errors += (times(logs, out) / np.array([row.seconds for row in out]) - 1).tolist()
    return done, np.array(errors)


def show(name: str, done: Iterable[Row], errors: Constants) -> None:
    """Print mean, median, 95 % quantile and maximum of the absolute errors, from 1 MiB up and below."""
    large = np.array([row.message >= LARGE for row in done])
    for text, which in (("1 MiB and more", large), ("below 1 MiB", ~large)):
        off = 100 * np.abs(errors[which])
        print(
            f"{name:18} {text:15} n {which.sum():5} mean {off.mean():5.1f} median {np.median(off):5.1f} "
            f"p95 {np.quantile(off, 0.95):5.1f} worst {off.max():6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    every = rows()
    numbers = {system: at for at, system in enumerate(sorted({row.system for row in every}))}
    show("a fifth of sizes", *left_out(every, lambda row: (round(np.log2(row.message)) + numbers[row.system]) % 5))
    show("number of GPUs", *left_out(every, lambda row: (row.system, row.gpus)))
    show("system", *left_out(every, lambda row: row.system))
