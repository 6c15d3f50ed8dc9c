"""Construction of a sweep: check of every path and value, random sample, and identity of the results."""

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from lbsim.analysis.sweep import TABLES, Axis, Sweep, Value
from lbsim.errors import InputError
from lbsim.scenario.request import ScenarioRequest, ordered_changes
from lbsim.scenario.scenario import Scenario
from lbsim.version import __version__
from lbsim.workload import workload_file

__all__ = ["build_sweep"]


def build_sweep(question: ScenarioRequest, axes: Sequence[Axis], sample: int | None = None, seed: int = 0) -> Sweep:
    """Return the sweep of *question* over *axes*: the full grid, or *sample* scenarios of it drawn with *seed*.

    Each value is checked once, with the first value of each other axis: InputError if a path does not exist or a value
    is invalid for it. An invalid combination, such as a batch that exceeds the memory, becomes the error of its row.
    """
    tables = {**question.tables, "plan": {"gpus": 1} | question.tables.get("plan", {})}
    if "gpus" not in question.tables.get("plan", {}) and "plan.gpus" not in {axis.path for axis in axes}:
        raise InputError("how many GPUs? write --gpus 1024, or sweep them: gpus 8 16 32")
    sweep = Sweep(tuple(axes), question.changes, question.folders, _bases(tables, question, axes), (), "")
    checked = [_checked(sweep, position) for position in range(len(axes))]
    sweep = replace(sweep, axes=tuple(axis for axis, _ in checked))
    numbers = _numbers([len(axis.texts) for axis in axes], sample, seed)
    identity = _identity(sweep, [scenario for _, scenario in checked], (sample, seed) if sample else None)
    return replace(sweep, numbers=numbers, identity=identity)


def _bases(
    tables: Mapping[str, Any], question: ScenarioRequest, axes: Sequence[Axis]
) -> dict[tuple[int, ...], Scenario]:
    """Return the scenario per combination of values of the axes that replace a table."""
    replaced = [axis for axis in axes if axis.path in TABLES]
    bases = {}
    for indices in product(*(range(len(axis.texts)) for axis in replaced)):
        varied = {axis.path: axis.texts[at] for axis, at in zip(replaced, indices, strict=True)}
        named, _ = ordered_changes(dict(question.changes) | varied)
        bases[indices] = Scenario.read(dict(tables) | named, question.folders)
    return bases


def _checked(sweep: Sweep, position: int) -> tuple[Axis, Scenario]:
    """Return the axis at *position* with its values read, and the scenario of its first value."""
    axis = sweep.axes[position]
    stride = math.prod(len(other.texts) for other in sweep.axes[position + 1 :])
    scenarios = [sweep.task(at * stride).scenario(sweep.folders) for at in range(len(axis.texts))]
    values: list[Value] = []
    for text, scenario in zip(axis.texts, scenarios, strict=True):
        value = _value(scenario, axis.path, text)
        if value in values:
            raise InputError(f"{axis.path}: {text} is swept twice")
        values.append(value)
    return replace(axis, values=tuple(values)), scenarios[0]


def _value(scenario: Scenario, path: str, text: str) -> Value:
    """Return the number at *path* of *scenario*, in SI units, or *text* if there is no number."""
    value: Any = scenario
    for name in path.split("."):
        value = getattr(value, name)
    return value if isinstance(value, bool | int | float) else " ".join(text.split())


def _numbers(sizes: Sequence[int], sample: int | None, seed: int) -> Sequence[int]:
    """Return the indices to predict in a grid of *sizes*: all, or *sample* drawn with *seed*."""
    size = math.prod(sizes)
    if sample is None or sample >= size:
        return range(size)
    return sorted(random.Random(seed).sample(range(size), sample))


def _identity(sweep: Sweep, first: Iterable[Scenario], sampling: object) -> str:
    """Return a hash of the axes, of everything read from profiles and files, and of the version of lbsim."""
    axes = [(axis.path, axis.values) for axis in sweep.axes]
    scenarios = [*sweep.bases.values(), *first]
    dumps = [scenario.model_dump_json() for scenario in scenarios]
    layers = [repr(scenario.workload) for scenario in scenarios if workload_file.is_workload_file(scenario.model)]
    text = repr((__version__, axes, sorted(sweep.changes.items()), dumps, layers, sampling))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
