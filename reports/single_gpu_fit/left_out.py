"""Write how far off each published rate is when its source, its card or its model was not in the fit.

    python reports/single_gpu_fit/left_out.py         write left_out.csv beside this script, half a minute

Of one GPU, the rates of `fit.py`, and those that another of the same source predicts that differs in batch or
precision. Of several GPUs, every published rate and time without the anchor that its case may have, with the values of
the fit that has not seen its source. ``lag`` is the logarithm of observed over predicted seconds: above zero when the
real machine was slower. ``reports/intervals/learn.py`` makes the widths of intervals of these.
"""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anchors
from fit import CPUS, KERNELS, speeds

from lbsim.compute.roofline import arithmetic_class
from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.leave_out import GROUPS
from lbsim.evaluation.single_gpu.rates import Rate, Values, kernel_time, kernels, rates
from lbsim.measurements.case import case_files, read_case_file
from lbsim.profiles.catalog import PUBLISHED_CASES, Folders
from lbsim.profiles.hardware import RelativeSpeed
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import ScenarioMetrics

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
        return sign * math.log(self.value / ScenarioMetrics(scenario).value(self.quantity))


def several() -> list[Several]:
    """Return the published rates and times of several GPUs whose hardware was not fitted to them, without anchors."""
    found: dict[tuple[str, str, str], Several] = {}
    for file in case_files(PUBLISHED_CASES):
        content = read_case_file(file)
        for one in content.observed:
            wanted = one.class_.startswith(("scaling", "several GPUs", "seed time, not anchored"))
            if wanted and one.relative_to is None and one.quantity in RATES + TIMES:
                changes = one.set | content.unfitted | one.unfitted
                scenario = build_scenario(content.scenario, changes, Folders(beside=file.parent))
                scenario = scenario.model_copy(update={"anchor": None})
                found[content.system, one.id, one.quantity] = Several(
                    content.system, one.id, one.quantity, scenario, one.si
                )
    return list(found.values())


def as_fitted(scenario: Scenario, values: Values, fitted: Iterable[Rate]) -> Scenario:
    """Return *scenario* with the values of a fit; software of which no rate is in *fitted* at all is as it ships."""
    software, card = scenario.software, scenario.cluster.accelerator
    if software.kernels.name == KERNELS:
        software = software.model_copy(update={"kernels": software.kernels.model_copy(update=kernels(values))})
    if any(rate.scenario.software.name == software.name for rate in fitted):
        speed = {
            name: math.exp(values.get(f"software {software.name} {name}", 0.0)) for name in RelativeSpeed.model_fields
        }
        software = software.model_copy(
            update={"kernel_time": kernel_time(software.name, values), "speed": RelativeSpeed(**speed)}
        )
    if card.architecture not in CPUS:
        card = card.model_copy(update={"speed": RelativeSpeed(**speeds(values, card))})
    cluster = scenario.cluster.model_copy(update={"accelerator": card})
    return scenario.model_copy(update={"software": software, "cluster": cluster})


def place(scenario: Scenario) -> str:
    """Return where the GPUs of *scenario* are."""
    if scenario.plan.gpus == 1:
        return "one"
    return "in node" if scenario.plan.gpus <= scenario.cluster.gpus_per_node else "across nodes"


def known(scenario: Scenario, train: Iterable[Rate]) -> tuple[str, str]:
    """Return whether software and card of *scenario* are in *train*; of a CPU node, that its one rate is."""
    train, card = list(train), scenario.cluster.accelerator
    software = any(rate.scenario.software.name == scenario.software.name for rate in train)
    cards = card.architecture in CPUS or any(rate.scenario.cluster.accelerator.name == card.name for rate in train)
    return ("known" if software else "unknown", "known" if cards else "unknown")


def left_out(fit: Fit, kind: str, others: list[Several]) -> Iterator[list[str]]:
    """Yield a line for each rate that was left out with its group of *kind*, and for *others* with their source."""
    of = GROUPS[kind]
    for name in sorted({of(rate) for rate in fit.data}):
        places = [place for place, rate in enumerate(fit.data) if of(rate) == name]
        values = fit.without(places)
        test = [rate for rate in fit.data if of(rate) == name]
        train = [rate for rate in fit.data if of(rate) != name]
        for rate in test:
            yield line(kind, name, rate, -rate.error(values), train)
        if kind == "source":
            yield from of_several((one for one in others if one.system == name), fit, values, train)
    if kind == "source":
        seen = {rate.system for rate in fit.data}
        yield from of_several((one for one in others if one.system not in seen), fit, fit.values, fit.data)


def of_several(found: Iterable[Several], fit: Fit, values: Values, train: list[Rate]) -> Iterator[list[str]]:
    """Yield a line for each rate of several GPUs, predicted with *values*, which come from *train*."""
    for one in found:
        yield line("source", one.system, one, one.lag(as_fitted(one.scenario, values, fit.data)), train)


def anchored() -> Iterator[list[str]]:
    """Yield a line for each rate of one GPU that is predicted from another one, at another batch or precision."""
    for kind in ("batch", "precision"):
        pairs = anchors.pairs(kind)
        for (_, rate), error in zip(
            pairs, anchors.errors(0.5, pairs), strict=True
        ):  # as lbsim.simulation.anchor has it
            yield line(kind, rate.system, rate, -float(error), [])


def line(kind: str, group: str, one: Rate | Several, lag: float, train: list[Rate]) -> list[str]:
    """Return the cells of one rate."""
    scenario = one.scenario
    cores = arithmetic_class(scenario.cluster.accelerator, scenario.plan)
    what = [kind, group, one.system, one.id, one.quantity, cores, str(scenario.plan.gpus), place(scenario)]
    return [*what, str(scenario.software.year or ""), *known(scenario, train), f"{lag:.4f}"]


def main() -> None:
    """Fit once for each group that is left out and write the file at the end, whole."""
    fit, others = Fit(rates("calibrate")), several()
    lines = [one for kind in ("source", "card", "model") for one in left_out(fit, kind, others)]
    lines += anchored()
    with FILE.open("w", newline="") as out:
        sheet = csv.writer(out, lineterminator="\n")
        sheet.writerow(COLUMNS)
        sheet.writerows(lines)


if __name__ == "__main__":
    main()
