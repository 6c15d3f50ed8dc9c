"""Differences between two scenarios, and between their predictions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lbsim.cli import json_output
from lbsim.simulation.prediction import Prediction

__all__ = ["Comparison", "Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """Two values of one dotted path; None for a prediction that does not have the path."""

    path: str
    first: Any
    second: Any

    @property
    def ratio(self) -> float | None:
        """Second value over first; None unless both are numbers and the first is not zero."""
        numbers = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in (self.first, self.second)
        )
        return self.second / self.first if numbers and self.first else None


@dataclass(frozen=True)
class Comparison:
    """Differences between two predictions: *inputs* in their scenarios, *outputs* in their results."""

    inputs: tuple[Difference, ...]
    outputs: tuple[Difference, ...]


def compare(first: Prediction, second: Prediction) -> Comparison:
    """Return the differences between *first* and *second*, by dotted path of their JSON."""
    outputs = [json_output.prediction_json(prediction) for prediction in (first, second)]
    inputs = [output.pop("scenario") for output in outputs]
    return Comparison(_differences(*inputs), _differences(*outputs))


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    left, right = dict(_flat(first)), dict(_flat(second))
    pairs = (Difference(path, left.get(path), right.get(path)) for path in left | right)
    return tuple(pair for pair in pairs if pair.first != pair.second)


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of *table* with its dotted path.

    >>> list(_flat({"plan": {"gpus": 8}, "model": "resnet50"}))
    [('plan.gpus', 8), ('model', 'resnet50')]
    """
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
