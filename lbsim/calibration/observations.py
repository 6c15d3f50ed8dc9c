"""Observations to fit to: from traces, in the scenario of the request, and from cases, in their own scenarios."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lbsim.calibration.calibration import Source
from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.errors import InputError
from lbsim.measurements.case import CaseFile, case_observation, read_case_file
from lbsim.measurements.measurement import Measurement, Reading, checksum, read
from lbsim.measurements.observation import Observation
from lbsim.profiles.catalog import Folders
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario

_LINKS = (
    "cluster.inter_node.latency",
    "cluster.inter_node.efficiency",
    "cluster.intra_node.latency",
    "cluster.intra_node.efficiency",
    "software.library.per_collective",
    "software.library.per_step",
)
_STEPS = (
    "software.speed.vector",
    "software.speed.tf32",
    "software.speed.tensor",
    "software.kernel_time",
    "software.straggler_spread",
    "software.overlap_slowdown",
    "software.step_overhead",
)


__all__ = ["CalibrationData", "is_named", "read_observations"]


@dataclass(frozen=True)
class CalibrationData:
    """Observations of several files, and their provenance."""

    observations: tuple[Observation, ...]
    sources: tuple[Source, ...]
    left_out: tuple[str, ...]
    """Entries that cannot be fitted to, each with the reason."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Default parameters: paths that these observations may determine."""
        quantities = {one.quantity for one in self.observations}
        return (*_LINKS, *(_STEPS if quantities - set(MICROBENCHMARKS) else ()))


def read_observations(
    files: list[Path], tables: Mapping[str, Any], changes: Mapping[str, Any], folders: Folders
) -> CalibrationData:
    """Return the observations of *files*: of case files in their own scenarios, of others in that of the request.

    *tables* and *changes* are the request's scenario. InputError if nothing can be fitted to, or for a trace that was
    taken on another machine than the scenario's.
    """
    observations: list[Observation] = []
    sources, left_out = [], []
    for file in files:
        if file.suffix == ".toml":
            own = of_cases(file, read_case_file(file))
            missing = [] if own else [f"{file}: no observation in it has role = 'calibrate'"]
        else:
            own, missing = _of_reading(file, read(file), tables, changes, folders)
        left_out += missing
        observations += own
        if own:
            sources.append(Source(file=file.name, sha256=checksum(file), observations=len(own)))
    if not observations:
        raise InputError(f"no observations to fit to in {', '.join(map(str, files))}: {'; '.join(left_out[:3])}")
    return CalibrationData(tuple(observations), tuple(sources), tuple(left_out))


def of_cases(file: Path, content: CaseFile) -> list[Observation]:
    """Return the observations of a case file that a fit may use; InputError names the one that is wrong."""
    return [case_observation(file, content, entry) for entry in content.observed if entry.role == "calibrate"]


def _of_reading(
    file: Path, reading: Reading, tables: Mapping[str, Any], changes: Mapping[str, Any], folders: Folders
) -> tuple[list[Observation], list[str]]:
    found, left_out = [], [f"{file}: {reason}" for reason in reading.left_out]
    made: dict[str, Scenario] = {}
    for one in reading.measurements:
        key = repr(sorted(one.changes.items()))
        if key not in made:
            made[key] = _scenario(file, one, tables, changes, folders)
            _same_machine(made[key], reading, file)
        scenario, where = made[key], f"{file}: {one.where.removeprefix(f'{file}: ')}"
        if one.model and one.model != scenario.model:
            left_out.append(f"{where}: {one.quantity} of {one.model}, and the scenario is of {scenario.model}")
        else:
            found.append(Observation(replace(one, where=where), scenario))
    return found, left_out


def _scenario(
    file: Path, one: Measurement, tables: Mapping[str, Any], changes: Mapping[str, Any], folders: Folders
) -> Scenario:
    plan = dict(tables.get("plan", {}))
    gpus = one.changes.get("plan.gpus", plan.get("gpus"))
    if gpus is None:
        raise InputError(f"{file}: the file does not state the number of GPUs; write --gpus")
    try:
        return build_scenario(
            dict(tables) | {"plan": plan | {"gpus": gpus}}, dict(changes) | dict(one.changes), folders
        )
    except InputError as error:
        raise InputError(f"{file}: {one.where}: {error}") from None


def _same_machine(scenario: Scenario, reading: Reading, file: Path) -> None:
    name = scenario.cluster.accelerator.name
    if reading.machine and not is_named(name, reading.machine):
        raise InputError(
            f"{file}: {reading.machine_where}: measured on '{reading.machine}', and the accelerator of "
            f"{scenario.cluster.name} is {name}; write --cluster NAME or --set cluster.accelerator=NAME"
        )


def is_named(profile: str, machine: str) -> bool:
    """Return whether *profile* is of *machine*, as a tool names it: by the first word that has a digit.

    >>> is_named("a100-sxm-40gb", "NVIDIA A100-SXM4-40GB"), is_named("h100-sxm", "Tesla V100-SXM2-16GB")
    (True, False)
    """
    words = re.findall(r"[a-z0-9]+", profile.casefold())
    telling = next((word for word in words if any(letter.isdigit() for letter in word)), "".join(words[:1]))
    if words and words[0] in {"epyc", "xeon"}:
        telling = words[0]
    return telling in re.findall(r"[a-z0-9]+", machine.casefold())
