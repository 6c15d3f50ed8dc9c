"""Reports of the three record systems that lbsim reproduces, with all plans that their publications give."""

from dataclasses import dataclass
from pathlib import Path

from lbsim.measurements.case import read_case_file
from lbsim.profiles.catalog import PUBLISHED_CASES, Folders
from lbsim.report.scenarios import ReportScenarios, labelled
from lbsim.report.writer import Report
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario

__all__ = ["RECORD_SYSTEMS", "RecordSystem", "record_report"]


@dataclass(frozen=True)
class RecordSystem:
    """A publication and the file of its cases."""

    name: str
    title: str
    cases: Path
    figures: tuple[str, ...] = (
        "scaling",
        "step_time",
        "timeline",
        "all_reduce",
        "fusion_threshold",
        "trade_off",
    )
    """Names of the figures; empty for all. The default omits figures that are equal for every publication."""


RECORD_SYSTEMS = (
    RecordSystem(
        "you2017", "Large-batch training with LARS: You et al., 2017", PUBLISHED_CASES / "you2017_lars_slides.toml"
    ),
    RecordSystem("akiba2017", "ResNet-50 in 15 minutes: Akiba et al., 2017", PUBLISHED_CASES / "akiba2017.toml"),
    RecordSystem("jia2018", "ImageNet in four minutes: Jia et al., 2018", PUBLISHED_CASES / "jia2018.toml", ()),
)


def record_report(system: RecordSystem, command: str) -> Report:
    """Return the report of *system*: one scenario for each model and batch that it trains on several GPUs."""
    return Report(system.title, ReportScenarios(labelled(_scenarios(system.cases))), command, system.figures)


def _scenarios(cases: Path) -> list[Scenario]:
    """Return the largest scenario on several GPUs, without an anchor, of each model, batch and precision in *cases*."""
    content = read_case_file(cases)
    every = [build_scenario(content.scenario, one.set, Folders(beside=cases.parent)) for one in content.observed]
    largest: dict[tuple[str, int, str], Scenario] = {}
    for scenario in every:
        plan = scenario.plan
        key = (scenario.model, plan.batch_per_gpu, plan.precision)
        if scenario.anchor is None and plan.gpus > 1 and (key not in largest or plan.gpus > largest[key].plan.gpus):
            largest[key] = scenario
    return list(largest.values())
