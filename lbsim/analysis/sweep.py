"""Many scenarios: a grid over dotted paths, or a random sample of one, a row of numbers for each."""

import hashlib
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

from lbsim.errors import InputError, unknown_name
from lbsim.predict import predict
from lbsim.profiles.catalog import Folders
from lbsim.scenario.plan import Plan
from lbsim.scenario.request import ScenarioRequest, ordered_changes
from lbsim.scenario.scenario import Scenario, override
from lbsim.simulation.metrics import Breakdown
from lbsim.simulation.prediction import Prediction
from lbsim.version import __version__
from lbsim.workload import workload_file

_WHOLE = ("cluster", "model", "software", "anchor")
_SHORT = {name: name for name in _WHOLE} | {"library": "software.library"}
_SHORT |= {name: f"plan.{name}" for name in Plan.model_fields}
_DOTTED = re.compile(rf"({'|'.join(Scenario.model_fields)})(\.[a-z_][a-z0-9_]*)+")

_RATES = ("throughput", "throughput_per_gpu")
_QUANTITIES = (*_RATES, "step_time", "scaling_efficiency", "scaling_efficiency_vs_node", "time_to_train")
ANSWERS = (
    *_QUANTITIES,
    "communication_time",
    *(f"breakdown.{field.name}" for field in fields(Breakdown)),
    *(f"interval.{name}.{end}" for name in _QUANTITIES for end in ("low", "high")),
    "memory.total",
)
"""Columns that are answered, in SI units, by the dotted path that they have in the JSON of a prediction."""

Told = str | int | float | bool
Row = dict[str, Any]
"""A row by column; what a scenario that cannot be has no answer to is none."""


@dataclass(frozen=True)
class Axis:
    """One thing that varies."""

    path: str
    values: tuple[str, ...]
    """As they were written."""
    told: tuple[Told, ...]
    """As results tell them: numbers in SI units, and text as it was written."""


@dataclass(frozen=True)
class Task:
    """One scenario to predict."""

    number: int
    """In the grid, from 0; the last axis varies quickest."""
    base: Scenario
    changes: Mapping[str, Any]
    told: tuple[Told, ...]


@dataclass(frozen=True)
class Sweep:
    """A grid whose paths and values were found to be valid, and which of its scenarios are asked for."""

    axes: tuple[Axis, ...]
    changes: Mapping[str, Any]
    folders: Folders
    bases: Mapping[tuple[int, ...], Scenario]
    """What paths change, for each choice of values of the axes that replace a whole, such as ``cluster``."""
    numbers: Sequence[int]
    """Of the grid's scenarios, ascending."""
    identity: str
    """The same for the same scenarios, by the same version of lbsim, and for no others."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what a row tells, in order."""
        return ("number", *(axis.path for axis in self.axes), *ANSWERS, "error", "sweep")

    def task(self, number: int) -> Task:
        """Return the scenario at *number* in the grid."""
        places = _places(number, self.axes)
        base = self.bases[tuple(place for axis, place in zip(self.axes, places, strict=True) if axis.path in _WHOLE)]
        varied = {axis.path: axis.values[place] for axis, place in zip(self.axes, places, strict=True)}
        _, changes = ordered_changes(dict(self.changes) | varied)
        told = tuple(axis.told[place] for axis, place in zip(self.axes, places, strict=True))
        return Task(number, base, changes, told)

    def row(self, task: Task, answered: Row) -> Row:
        """Return the whole row of *task*."""
        paths = (axis.path for axis in self.axes)
        told = dict(zip(paths, task.told, strict=True))
        return {"number": task.number} | told | answered | {"sweep": self.identity}


def axes_of(words: Iterable[str]) -> tuple[Axis, ...]:
    """Return the axes that *words*, paths with the values that follow each, mean; InputError if there are none.

    >>> [(axis.path, axis.values) for axis in axes_of(["gpus", "8", "16", "cluster.nics", "2"])]
    [('plan.gpus', ('8', '16')), ('cluster.nics', ('2',))]
    """
    found: list[tuple[str, list[str]]] = []
    for word in words:
        path = _path(word)
        if path is not None:
            if path in (known for known, _ in found):
                raise InputError(f"{word}: swept twice; write all its values after it once")
            found.append((path, []))
        elif not found:
            raise unknown_name(word, "what can be swept", _SHORT, "write a path such as cluster.nics, or one of")
        else:
            found[-1][1].append(word)
    empty = [path for path, values in found if not values]
    if empty:
        raise InputError(f"{empty[0]}: no values to sweep; write them after it, e.g. gpus 8 16 32")
    if not found:
        raise InputError("nothing to sweep; write paths and values, e.g. lbsim sweep gpus 8 16 32 --out results.csv")
    return tuple(Axis(path, tuple(values), tuple(values)) for path, values in found)


def _path(word: str) -> str | None:
    """Return the dotted path that *word* means, or none if it is a value."""
    short = word.replace("-", "_")
    return _SHORT.get(short) or (word if _DOTTED.fullmatch(word) else None)


def prepare(question: ScenarioRequest, axes: Sequence[Axis], sample: int | None = None, seed: int = 0) -> Sweep:
    """Return the sweep of *question* over *axes*: the whole grid, or *sample* scenarios of it drawn with *seed*.

    Each value is tried once, with the first of each other axis: InputError if a path does not exist or a value is
    none for it. What cannot be together, such as a batch beyond the memory, is an error of its row alone.
    """
    tables = {**question.tables, "plan": {"gpus": 1} | question.tables.get("plan", {})}
    if "gpus" not in question.tables.get("plan", {}) and "plan.gpus" not in {axis.path for axis in axes}:
        raise InputError("how many GPUs? write --gpus 1024, or sweep them: gpus 8 16 32")
    bases = _bases(tables, question, axes)
    tried = Sweep(tuple(axes), question.changes, question.folders, bases, (), "")
    read = [_try(tried, position) for position in range(len(axes))]
    tried = Sweep(tuple(axis for axis, _ in read), question.changes, question.folders, bases, (), "")
    numbers = _numbers([len(axis.values) for axis in axes], sample, seed)
    identity = _identity(tried, [scenario for _, scenario in read], (sample, seed) if sample else None)
    return Sweep(tried.axes, question.changes, question.folders, bases, numbers, identity)


def _bases(
    tables: Mapping[str, Any], question: ScenarioRequest, axes: Sequence[Axis]
) -> dict[tuple[int, ...], Scenario]:
    whole = [axis for axis in axes if axis.path in _WHOLE]
    bases = {}
    for places in product(*(range(len(axis.values)) for axis in whole)):
        varied = {axis.path: axis.values[place] for axis, place in zip(whole, places, strict=True)}
        named, _ = ordered_changes(dict(question.changes) | varied)
        bases[places] = Scenario.read(dict(tables) | named, question.folders)
    return bases


def _try(sweep: Sweep, position: int) -> tuple[Axis, Scenario]:
    """Return the axis at *position* with what its values are told as, and the scenario of its first."""
    axis, told = sweep.axes[position], []
    stride = math.prod(len(other.values) for other in sweep.axes[position + 1 :])
    scenarios = [_scenario(sweep.task(place * stride), sweep.folders) for place in range(len(axis.values))]
    for text, scenario in zip(axis.values, scenarios, strict=True):
        told.append(_told(scenario, axis.path, text))
        if told.index(told[-1]) < len(told) - 1:
            raise InputError(f"{axis.path}: {text} is swept twice")
    return Axis(axis.path, axis.values, tuple(told)), scenarios[0]


def _told(scenario: Scenario, path: str, text: str) -> Told:
    value: Any = scenario
    for name in path.split("."):
        value = getattr(value, name)
    return value if isinstance(value, bool | int | float) else " ".join(text.split())


def _numbers(sizes: Sequence[int], sample: int | None, seed: int) -> Sequence[int]:
    size = math.prod(sizes)
    if sample is None or sample >= size:
        return range(size)
    return sorted(random.Random(seed).sample(range(size), sample))


def _places(number: int, axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return which value of each axis the grid has at *number*."""
    places = []
    for axis in reversed(axes):
        number, place = divmod(number, len(axis.values))
        places.append(place)
    return tuple(reversed(places))


def _identity(sweep: Sweep, first: Iterable[Scenario], drawn: object) -> str:
    """Return what tells this sweep from another: the axes, and all that profiles and files said."""
    told = [(axis.path, axis.told) for axis in sweep.axes]
    scenarios = [*sweep.bases.values(), *first]
    said = [scenario.model_dump_json() for scenario in scenarios]
    layers = [repr(one.workload) for one in scenarios if workload_file.is_workload_file(one.model)]
    text = repr((__version__, told, sorted(sweep.changes.items()), said, layers, drawn))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _scenario(task: Task, folders: Folders) -> Scenario:
    return override(task.base, task.changes, folders)


def answers(tasks: Sequence[Task], folders: Folders) -> list[Row]:
    """Return what is answered for each of *tasks*, or why it cannot be; this runs in other processes."""
    return [_answer(task, folders) for task in tasks]


def _answer(task: Task, folders: Folders) -> Row:
    try:
        return dict(_flat(predict(_scenario(task, folders)))) | {"error": None}
    except InputError as error:
        return dict.fromkeys(ANSWERS) | {"error": " ".join(str(error).split())}


def _flat(prediction: Prediction) -> Iterator[tuple[str, float]]:
    for name in (*_QUANTITIES, "communication_time"):
        yield name, getattr(prediction, name)
    for name, seconds in asdict(prediction.breakdown).items():
        yield f"breakdown.{name}", seconds
    for name in _QUANTITIES:
        yield f"interval.{name}.low", prediction.interval.ranges[name].low
        yield f"interval.{name}.high", prediction.interval.ranges[name].high
    yield "memory.total", prediction.memory.total
