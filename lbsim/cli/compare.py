"""Two scenarios side by side: each difference in what is asked, and each in what is answered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lbsim.cli import json_output
from lbsim.simulation.prediction import Prediction


@dataclass(frozen=True)
class Difference:
    """What stands at a dotted path, first here and then there; None where it stands in one alone."""

    path: str
    first: Any
    second: Any

    @property
    def ratio(self) -> float | None:
        """Second over first, of numbers."""
        numbers = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in (self.first, self.second)
        )
        return self.second / self.first if numbers and self.first else None


@dataclass(frozen=True)
class Comparison:
    """How two predictions differ."""

    inputs: tuple[Difference, ...]
    outputs: tuple[Difference, ...]


def compare(first: Prediction, second: Prediction) -> Comparison:
    """Return how *second* differs from *first*."""
    answers = [json_output.prediction_json(prediction) for prediction in (first, second)]
    asked = [one.pop("scenario") for one in answers]
    return Comparison(_differences(*asked), _differences(*answers))


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    here, there = dict(_flat(first)), dict(_flat(second))
    found = (Difference(path, here.get(path), there.get(path)) for path in here | there)
    return tuple(difference for difference in found if difference.first != difference.second)


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what *table* holds by its dotted path.

    >>> list(_flat({"plan": {"gpus": 8}, "model": "resnet50"}))
    [('plan.gpus', 8), ('model', 'resnet50')]
    """
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
