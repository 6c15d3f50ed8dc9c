"""Learn how far off predictions of each class are, and write what intervals are made of.

    python reports/intervals/learn.py            the table: widths, and how often left-out rows are inside
    python reports/intervals/learn.py --check    exit 1 if the residuals that ship are not of these data
    python reports/intervals/learn.py --write    write hardware_profiles/residuals/published.toml

Rates and times are those of `reports/single_gpu_fit/left_out.csv`, which `left_out.py` there writes; scaling and
all-reduces are the cases of ``lbsim validate --leave-out``, with what the profiles would say without the system; larger
scales are as fitted to the smaller ones. A minute.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from lbsim.evaluation.cross_validation.correction_fit import Predictions
from lbsim.evaluation.cross_validation.folds import cases
from lbsim.evaluation.cross_validation.leave_out import leave_out
from lbsim.evaluation.held_out_intervals import held_out_bounds
from lbsim.evaluation.residual import Residual
from lbsim.measurements.case import case_files, case_observation, read_case_file
from lbsim.measurements.case_class import SCALING
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import PUBLISHED_CASES, SHIPPED_PROFILES
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.metrics import ScenarioMetrics
from lbsim.uncertainty.conformal import Bounds, Groups, bounds
from lbsim.uncertainty.interval import interval, larger_class, scaling_class
from lbsim.uncertainty.residuals import LAST_EARLY_YEAR, Residuals

FILE = SHIPPED_PROFILES / "residuals" / "published.toml"
LEFT_OUT = Path(__file__).parents[1] / "single_gpu_fit" / "left_out.csv"
LEVEL = 0.9
DECIMALS = 3
TOLERANCE = 2 * 10**-DECIMALS
"""Lags are rounded, and arithmetic differs in its last digits from machine to machine."""
STATED = {"anchored": 0.05, "spread_low": 0.003, "spread_high": 0.06}
"""Learnt elsewhere, see the source in *HEAD*."""
EFFICIENCIES = ("scaling_efficiency", "scaling_efficiency_vs_node")
HEAD = """\
# Written by reports/intervals/learn.py: logarithms of observed over predicted seconds, by class of prediction and by
# what was left out together; lbsim.uncertainty.conformal makes bounds of them.
source = "rates, times and anchors: reports/single_gpu_fit/left_out.py, on the published rates in traces/published; \
scaling and all_reduce: the cases of lbsim validate --leave-out, with what the profiles would say without the \
system, and published efficiencies; larger: lbsim validate --leave-out scale; \
anchored: runs of one configuration by several submitters to MLPerf differ by 0.4 to 3.5 %; spread_low and \
spread_high: what Akiba et al., Goyal et al., Jia et al., TensorFlow's and MLPerf's rates imply\""""
FITTED = {"software": "software.fitted_rates", "card": "cluster.accelerator.fitted_rates"}
ALL = ("vector", "tf32", "tensor")
CORES = {"vector": ALL[:1], "tensor": ALL[1:]}
SEVERAL = ("in node", "across nodes")
Line = Mapping[str, str]
Class = dict[str, list[float]]


def left_out_lines() -> list[Line]:
    """Return what `left_out.py` wrote."""
    with LEFT_OUT.open() as file:
        return list(csv.DictReader(file))


def of_csv(lines: Iterable[Line], kind: str, cores: Iterable[str] = ALL, **wanted: str) -> Class:
    """Return the lags of the lines of *kind*, on *cores*, whose cells are as *wanted*, by what was left out."""
    found: Class = {}
    for line in lines:
        if line["left_out"] == kind and line["cores"] in cores and all(line[key] == is_ for key, is_ in wanted.items()):
            found.setdefault(line["group"], []).append(float(line["lag"]))
    return found


def together(classes: Iterable[Groups]) -> Class:
    """Return the lags of all *classes*, group by group."""
    found: Class = {}
    for one in classes:
        for group, lags in one.items():
            found.setdefault(group, []).extend(lags)
    return found


def halves(lines: Iterable[Line]) -> tuple[list[Line], list[Line]]:
    """Return the lines with early software and those with later software."""
    found: tuple[list[Line], list[Line]] = ([], [])
    for line in lines:
        found[int(line["year"] or LAST_EARLY_YEAR + 1) > LAST_EARLY_YEAR].append(line)
    return found


def of_several(lines: Iterable[Line], software: str, cores: Iterable[str] = ALL) -> Class:
    """Return the lags of several accelerators, not anchored, with a software that was *known* or not."""
    lines = list(lines)
    return together(of_csv(lines, "source", cores, place=place, software=software) for place in SEVERAL)


def of_cases(known: Iterable[Observation]) -> dict[str, Class]:
    """Return the lags of scaling and of all-reduces with what the profiles would say without the system.

    The bus bandwidths are left aside: links' efficiencies were read off some of them.
    """
    found: dict[str, Class] = {}
    predictions = Predictions()
    for one in known:
        if one.case.class_ in SCALING or one.quantity == "all_reduce_time":
            name = "all_reduce" if one.message is not None else scaling_class(one.unfitted or one.scenario)
            lag = Residual(one, predictions.predicted(one, {})).lag
            found.setdefault(name, {}).setdefault(one.case.system, []).append(lag)
    return found


def of_larger_scales() -> dict[str, Class]:
    """Return the lags of the largest scale of each system, as fitted to its smaller ones."""
    found: dict[str, Class] = {}
    for one in leave_out("scale").residuals:
        if one.observation.message is None:
            systems = found.setdefault(larger_class(one.observation.unfitted or one.observation.scenario), {})
            systems.setdefault(one.observation.case.system, []).append(one.lag)
    return found


def of_efficiencies() -> dict[str, Class]:
    """Return the lags of published scaling efficiencies, to none of which anything was fitted, likewise."""
    found: dict[str, Class] = {}
    for file in case_files(PUBLISHED_CASES):
        content = read_case_file(file)
        for entry in content.observed:
            if entry.quantity in EFFICIENCIES and entry.relative_to is None:
                one = case_observation(file, content, entry)
                lag = Residual(one, ScenarioMetrics(one.scenario).value(one.quantity)).lag
                found.setdefault(scaling_class(one.scenario), {}).setdefault(content.system, []).append(lag)
    return found


def classes() -> dict[str, Class]:
    """Return the lags of every class, by its name in the profile."""
    lines = left_out_lines()
    found: dict[str, Class] = {}
    for name, cores in CORES.items():
        found[f"model.{name}"] = of_csv(lines, "model", cores, place="one")
        found[f"system.{name}"] = of_csv(lines, "source", cores, place="one", software="known")
        found[f"card.{name}"] = of_csv(lines, "card", cores, place="one")
    early, since = halves(lines)
    for class_, software in (("several", "known"), ("several_software", "unknown")):
        found[f"{class_}.early"] = of_several(early, software)
        for name, cores in CORES.items():
            found[f"{class_}.{name}"] = of_several(since, software, cores)
    found["software"] = of_csv(lines, "source", place="one", software="unknown")
    parts, efficiencies = of_cases(cases(PUBLISHED_CASES)), of_efficiencies()
    found |= {name: together([part, efficiencies.get(name, {})]) for name, part in sorted(parts.items())}
    found |= of_larger_scales()
    found["anchored_batch"] = of_csv(lines, "batch")
    found["anchored_precision"] = of_csv(lines, "precision")
    return {
        name: {group: [round(lag, DECIMALS) for lag in sorted(lags)] for group, lags in sorted(one.items())}
        for name, one in found.items()
    }


@dataclass(frozen=True)
class ClassCoverage:
    """Coverage of one class, with bounds of each group from the lags of the others."""

    rows: float
    """Share of the rows inside."""
    groups: float
    """Mean over groups of that share."""
    off: Bounds
    """Of a new group, with all."""


def coverage(groups: Groups, level: float = LEVEL) -> ClassCoverage:
    """Return how often rows are within the bounds that the other groups ask."""
    inside = {
        name: [-within.below <= lag <= within.above for lag in groups[name]]
        for name, within in held_out_bounds(groups, level).items()
    }
    every = [one for each in inside.values() for one in each]
    return ClassCoverage(mean(every), mean(mean(each) for each in inside.values()), bounds(groups, level))


def table(found: Mapping[str, Class]) -> str:
    """Return coverage and widths by class, as Markdown."""
    rows = [
        "| class | groups | rows | rows inside | mean over groups | quicker | slower |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, groups in found.items():
        count, told = sum(map(len, groups.values())), coverage(groups)
        rows.append(
            f"| {name} | {len(groups)} | {count} | {told.rows:.0%} | {told.groups:.0%} "
            f"| {told.off.below:.2f} | {told.off.above:.2f} |"
        )
    return "\n".join(rows)


def asked() -> dict[tuple[str, str, str], Scenario]:
    """Return the scenario of each published rate and time, without an anchor, by system, fact and quantity."""
    found = {}
    for file in case_files(PUBLISHED_CASES):
        content = read_case_file(file)
        for entry in content.observed:
            scenario = case_observation(file, content, entry).scenario
            found[content.system, entry.id, entry.quantity] = scenario.model_copy(update={"anchor": None})
    return found


Inside = dict[str, list[tuple[bool, float]]]
"""By source, of each rate, whether it is in its interval, and the interval's width."""


def in_intervals(lines: Iterable[Line], level: float = LEVEL) -> dict[str, Inside]:
    """Return which rates whose source was left out are in their interval, by class of prediction.

    The interval is the one that ships, made without residuals of the row's own source, model and card, for a software
    and a card that are in the fit if others than this source had them.
    """
    scenarios = asked()
    found: dict[str, Inside] = {}
    for line in lines:
        if line["left_out"] == "source":
            scenario = scenarios[line["system"], line["id"], line["quantity"]]
            fitted = {path: int(line[name] == "known") for name, path in FITTED.items()}
            own = frozenset({line["system"], scenario.model, scenario.cluster.accelerator.name})
            off = interval(override(scenario, fitted), {"step_time": 1.0}, level, without=own).ranges["step_time"]
            inside = off.low <= math.exp(float(line["lag"])) <= off.high
            sources = found.setdefault(f"{place_of(line)}, {line['software']} software", {})
            sources.setdefault(line["system"], []).append((inside, math.sqrt(off.high / off.low)))
    return dict(sorted(found.items()))


def place_of(line: Line) -> str:
    """Return where a rate was measured, and on which cores or with how old a software."""
    kind = "fp32" if line["cores"] == "vector" else "tensor cores"
    if line["place"] == "one":
        return f"one GPU, {kind}"
    return f"several GPUs, {'early software' if int(line['year']) <= LAST_EARLY_YEAR else kind}"


def table_of_intervals(found: Mapping[str, Inside]) -> str:
    """Return how often rates are in their intervals, as Markdown."""
    rows = ["| not anchored, its source left out | sources | rows | inside | mean over sources | median width |"]
    rows.append("|---" * 6 + "|")
    for name, sources in found.items():
        every = [one for each in sources.values() for one in each]
        inside, groups = mean(is_ for is_, _ in every), mean(mean(is_ for is_, _ in each) for each in sources.values())
        middle = median(width for _, width in every)
        rows.append(f"| {name} | {len(sources)} | {len(every)} | {inside:.0%} | {groups:.0%} | x/÷ {middle:.2f} |")
    return "\n".join(rows)


def text(found: Mapping[str, Class]) -> str:
    """Return the profile that holds these lags."""
    lines = [HEAD, *(f"{name} = {value}" for name, value in STATED.items())]
    for name, groups in found.items():
        lines += ["", f"[{name}]"]
        lines += [
            f'{json.dumps(group, ensure_ascii=False)} = "{" ".join(map(str, lags))}"' for group, lags in groups.items()
        ]
    return "\n".join(lines) + "\n"


def differences(found: Mapping[str, Class]) -> list[str]:
    """Return what the profile has otherwise than *found*, in words."""
    there = Residuals.load("published")
    wrong = [
        f"{name}: {getattr(there, name)}, not {value}"
        for name, value in STATED.items()
        if getattr(there, name) != value
    ]
    for name, groups in found.items():
        held = there.of(name)
        if {group: len(lags) for group, lags in held.items()} != {group: len(lags) for group, lags in groups.items()}:
            wrong.append(f"{name}: other groups, or others as large")
            continue
        worst = max(abs(one - other) for group in groups for one, other in zip(held[group], groups[group], strict=True))
        if worst > TOLERANCE:
            wrong.append(f"{name}: lags differ by up to {worst:.3f}")
    return wrong


def main() -> int:
    """Print the table, and write or compare the profile if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write hardware_profiles/residuals/published.toml")
    parser.add_argument("--check", action="store_true", help="say whether it is made of these data")
    arguments = parser.parse_args()
    found = classes()
    print(table(found))
    if arguments.write:
        FILE.write_text(text(found))
    print(f"\n{table_of_intervals(in_intervals(left_out_lines()))}")
    wrong = differences(found) if arguments.check else []
    for one in wrong:
        print(f"{FILE.name}: {one}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
