"""Write how far off each published rate is when its source, its card or its model was not in the fit.

    nice python reports/single_gpu_fit/left_out.py           write left_out.csv beside this script, about 12 minutes
    nice python reports/single_gpu_fit/left_out.py source    its lines about sources anew: where communication changed

Of one GPU, the rows of `fit.py`, and those that another of the same source predicts that differs in batch or precision.
Of several GPUs, every published rate and time without the anchor that its case may have, with the values of the fit
that has not seen its source. ``lag`` is the logarithm of observed over predicted seconds: above zero when the real
machine was slower. ``reports/intervals/learn.py`` makes the widths of intervals of these.
"""

import argparse
import csv
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anchors
import numpy as np
from fit import CPUS, GROUPS, KERNELS, Fit, Row, kernel_time, kernels, rows, speeds

from lbsim.case import case_files, read_case_file
from lbsim.catalog import PUBLISHED_CASES, Folders
from lbsim.compute import arithmetic_class
from lbsim.hardware import Speed
from lbsim.question import ask
from lbsim.scenario import Scenario
from lbsim.steps import Steps

FILE = Path(__file__).with_name("left_out.csv")
COLUMNS = ("left_out", "group", "system", "id", "quantity", "cores", "gpus", "place", "year", "software", "card", "lag")
RATES = ("throughput", "throughput_per_gpu")
TIMES = ("step_time", "time_to_train")


@dataclass(frozen=True)
class Several:
    """One published rate or time of several GPUs."""

    system: str
    id: str
    quantity: str
    scenario: Scenario
    value: float

    def lag(self, scenario: Scenario) -> float:
        """Return the logarithm of observed over predicted seconds."""
        sign = 1 if self.quantity in TIMES else -1
        return sign * math.log(self.value / Steps(scenario).value(self.quantity))


def several() -> list[Several]:
    """Return the published rates and times of several GPUs whose hardware was not fitted to them, without anchors."""
    found: dict[tuple[str, str, str], Several] = {}
    for file in case_files(PUBLISHED_CASES):
        content = read_case_file(file)
        for one in content.observed:
            wanted = one.class_.startswith(("scaling", "several GPUs", "seed time, not anchored"))
            if wanted and one.relative_to is None and one.quantity in RATES + TIMES:
                changes = one.set | content.unfitted | one.unfitted
                scenario = ask(content.scenario, changes, Folders(beside=file.parent))
                scenario = scenario.model_copy(update={"anchor": None})
                found[content.system, one.id, one.quantity] = Several(
                    content.system, one.id, one.quantity, scenario, one.si
                )
    return list(found.values())


def as_fitted(scenario: Scenario, named: dict[str, float], fitted: Iterable[Row]) -> Scenario:
    """Return *scenario* with the values of a fit; software of which no row is in *fitted* at all is as it ships."""
    software, card = scenario.software, scenario.cluster.accelerator
    if software.kernels.name == KERNELS:
        software = software.model_copy(update={"kernels": software.kernels.model_copy(update=kernels(named))})
    if any(row.scenario.software.name == software.name for row in fitted):
        speed = {name: math.exp(named.get(f"software {software.name} {name}", 0.0)) for name in Speed.model_fields}
        software = software.model_copy(
            update={"kernel_time": kernel_time(software.name, named), "speed": Speed(**speed)}
        )
    if card.architecture not in CPUS:
        card = card.model_copy(update={"speed": Speed(**speeds(named, card))})
    cluster = scenario.cluster.model_copy(update={"accelerator": card})
    return scenario.model_copy(update={"software": software, "cluster": cluster})


def place(scenario: Scenario) -> str:
    """Return where the GPUs of *scenario* are."""
    if scenario.plan.gpus == 1:
        return "one"
    return "in node" if scenario.plan.gpus <= scenario.cluster.gpus_per_node else "across nodes"


def known(scenario: Scenario, train: Iterable[Row]) -> tuple[str, str]:
    """Return whether software and card of *scenario* are in *train*; of a CPU node, that its one rate is."""
    train, card = list(train), scenario.cluster.accelerator
    software = any(row.scenario.software.name == scenario.software.name for row in train)
    cards = card.architecture in CPUS or any(row.scenario.cluster.accelerator.name == card.name for row in train)
    return ("known" if software else "unknown", "known" if cards else "unknown")


def folds(fit: Fit, others: list[Several], kinds: Iterable[str]) -> Iterator[list[str]]:
    """Yield a line for each rate that was left out, with each kind of group."""
    start = fit.solve(fit.data)
    seen = {row.system for row in fit.data}
    for kind in kinds:
        group = GROUPS[kind]
        for name in sorted({group(row) for row in fit.data}):
            train = [row for row in fit.data if group(row) != name]
            values = fit.solve(train, start)
            test = [row for row in fit.data if group(row) == name]
            for row, error in zip(test, fit.errors(test, values), strict=True):
                yield line(kind, name, row.system, row.id, row.quantity, row.scenario, -float(error), train)
            if kind == "source":
                yield from of_several((one for one in others if one.system == name), kind, fit, values, train)
            print(f"without {kind} {name}: {len(test)} rates of one GPU", file=sys.stderr, flush=True)
    if "source" in kinds:
        never = (one for one in others if one.system not in seen)
        yield from of_several(never, "source", fit, start, fit.data)


def of_several(
    found: Iterable[Several], kind: str, fit: Fit, values: np.ndarray, train: list[Row]
) -> Iterator[list[str]]:
    """Yield a line for each rate of several GPUs, predicted with *values*, which come from *train*."""
    named = dict(zip(fit.names, values.tolist(), strict=True))
    for one in found:
        lag = one.lag(as_fitted(one.scenario, named, fit.data))
        yield line(kind, one.system, one.system, one.id, one.quantity, one.scenario, lag, train)


def anchored() -> Iterator[list[str]]:
    """Yield a line for each rate of one GPU that is predicted from another one, at another batch or precision."""
    for kind in ("batch", "precision"):
        pairs = anchors.pairs(kind)
        for (_, row), error in zip(pairs, anchors.errors(0.5, pairs), strict=True):  # as lbsim.anchor has it
            yield line(kind, row.system, row.system, row.id, row.quantity, row.scenario, -float(error), [])


def line(  # noqa: PLR0917 - the columns in order
    kind: str, group: str, system: str, number: str, quantity: str, scenario: Scenario, lag: float, train: list[Row]
) -> list[str]:
    """Return the cells of one rate."""
    cores = arithmetic_class(scenario.cluster.accelerator, scenario.plan)
    software, card = known(scenario, train)
    gpus = str(scenario.plan.gpus)
    year = str(scenario.software.year or "")
    return [kind, group, system, number, quantity, cores, gpus, place(scenario), year, software, card, f"{lag:.4f}"]


def main() -> None:
    """Fit once for each group that is left out and write the file at the end, whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("kinds", nargs="*", choices=list(GROUPS), help="what to leave out; the rest stays as it is")
    kinds = parser.parse_args().kinds
    lines = list(folds(Fit(rows("calibrate")), several(), kinds or list(GROUPS)))
    if kinds:
        with FILE.open(newline="") as before:
            lines += [line for line in csv.reader(before) if line[0] not in {COLUMNS[0], *kinds}]
    else:
        lines += anchored()
    with FILE.open("w", newline="") as out:
        sheet = csv.writer(out, lineterminator="\n")
        sheet.writerow(COLUMNS)
        sheet.writerows(lines)


if __name__ == "__main__":
    main()
