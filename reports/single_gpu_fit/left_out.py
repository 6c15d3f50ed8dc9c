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
from dataclasses import replace
from pathlib import Path

import anchors
from fit import CPUS, KERNELS, speeds

from lbsim.compute.roofline import arithmetic_class
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.fit import Fit
from lbsim.evaluation.single_gpu.leave_out import GROUPS
from lbsim.evaluation.single_gpu.rates import Values, kernel_time, kernels, rates, residual
from lbsim.measurements.case import case_files, held_out_observation, read_case_file
from lbsim.measurements.case_class import SCALING, CaseClass
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES
from lbsim.profiles.hardware import RelativeSpeed
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import ScenarioMetrics

FILE = Path(__file__).with_name("left_out.csv")
COLUMNS = ("left_out", "group", "system", "id", "quantity", "cores", "gpus", "place", "year", "software", "card", "lag")
RATES = ("throughput", "throughput_per_gpu")
CLASSES = SCALING | {CaseClass.SEVERAL_GPUS_MIXED, CaseClass.RECORD_TIME_NOT_ANCHORED}
TIMES = ("step_time", "time_to_train")


def several() -> list[Observation]:
    """Return the published rates and times of several GPUs, from unfitted hardware profiles and without anchors."""
    found: dict[tuple[str, str, str], Observation] = {}
    for file in case_files(PUBLISHED_CASES):
        content = read_case_file(file)
        for entry in content.observed:
            if entry.class_ in CLASSES and entry.relative_to is None and entry.quantity in RATES + TIMES:
                one = held_out_observation(file, content, entry)
                scenario = (one.unfitted or one.scenario).model_copy(update={"anchor": None})
                found[content.system, entry.id, entry.quantity] = replace(one, scenario=scenario, unfitted=None)
    return list(found.values())


def as_fitted(scenario: Scenario, values: Values, fitted: Iterable[Observation]) -> Scenario:
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


def known(scenario: Scenario, train: Iterable[Observation]) -> tuple[str, str]:
    """Return whether software and card of *scenario* are in *train*; of a CPU node, that its one rate is."""
    train, card = list(train), scenario.cluster.accelerator
    software = any(rate.scenario.software.name == scenario.software.name for rate in train)
    cards = card.architecture in CPUS or any(rate.scenario.cluster.accelerator.name == card.name for rate in train)
    return ("known" if software else "unknown", "known" if cards else "unknown")


def left_out(fit: Fit, kind: str, others: list[Observation]) -> Iterator[list[str]]:
    """Yield a line for each rate that was left out with its group of *kind*, and for *others* with their source."""
    of = GROUPS[kind]
    for name in sorted({of(rate) for rate in fit.data}):
        places = [place for place, rate in enumerate(fit.data) if of(rate) == name]
        values = fit.without(places)
        test = [rate for rate in fit.data if of(rate) == name]
        train = [rate for rate in fit.data if of(rate) != name]
        for rate in test:
            yield line(kind, name, rate, residual(rate, values).lag, train)
        if kind == "source":
            yield from of_several((one for one in others if one.case.system == name), fit, values, train)
    if kind == "source":
        seen = {rate.case.system for rate in fit.data}
        yield from of_several((one for one in others if one.case.system not in seen), fit, fit.values, fit.data)


def of_several(found: Iterable[Observation], fit: Fit, values: Values, train: list[Observation]) -> Iterator[list[str]]:
    """Yield a line for each rate of several GPUs, predicted with *values*, which come from *train*."""
    for one in found:
        predicted = ScenarioMetrics(as_fitted(one.scenario, values, fit.data)).value(one.quantity)
        yield line("source", one.case.system, one, Residual(one, predicted).lag, train)


def anchored() -> Iterator[list[str]]:
    """Yield a line for each rate of one GPU that is predicted from another one, at another batch or precision."""
    for kind in ("batch", "precision"):
        pairs = anchors.pairs(kind)
        for (_, rate), error in zip(
            pairs, anchors.errors(0.5, pairs), strict=True
        ):  # as lbsim.simulation.anchor has it
            yield line(kind, rate.case.system, rate, -float(error), [])


def line(kind: str, group: str, one: Observation, lag: float, train: list[Observation]) -> list[str]:
    """Return the cells of one rate."""
    scenario, case = one.scenario, one.case
    cores = arithmetic_class(scenario.cluster.accelerator, scenario.plan)
    what = [kind, group, case.system, case.id, case.quantity, cores, str(scenario.plan.gpus), place(scenario)]
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
