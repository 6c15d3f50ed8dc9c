"""What a fit moves: one number of one profile, wherever that profile stands, by the dotted path that leads to it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lbsim.calibration.priors import Prior, prior
from lbsim.calibration.transforms import to_unconstrained
from lbsim.errors import InputError
from lbsim.scenario.paths import owning_profile, value_at
from lbsim.scenario.scenario import Scenario

_SAME = 1e-9
"""Relative difference of numbers that are the profile's own."""


@dataclass(frozen=True)
class Parameter:
    """One number of one profile: ``cluster.inter_node.latency`` of ``ib-edr``."""

    path: str
    of: str
    before: float
    """What the profile says, in SI."""
    prior: Prior

    @property
    def place(self) -> float | None:
        """Of what the profile says, on its line; none if that has no place there."""
        line = self.prior.line
        if line != "linear" and not 0 < self.before < (1 if line == "logit" else math.inf):
            return None
        return to_unconstrained(self.before, line)

    def stands_in(self, scenario: Scenario) -> bool:
        """Return whether *scenario* has this number, and has it as the profile does."""
        try:
            same = owning_profile(scenario, self.path) == self.of
            return same and math.isclose(value_at(scenario, self.path), self.before, rel_tol=_SAME)
        except InputError:
            return False


def parameters(scenarios: Iterable[Scenario], paths: Sequence[str]) -> list[Parameter]:
    """Return the numbers at *paths* of all profiles in *scenarios*; InputError for a path that is in none.

    ``cluster.inter_node.latency`` is one number of all scenarios over ``ib-edr`` and another of those over
    ``ethernet-10g-tcp``.
    """
    found: dict[tuple[str, str], Parameter] = {}
    faults: dict[str, InputError] = {}
    for scenario in {id(one): one for one in scenarios}.values():
        for path in dict.fromkeys(paths):
            try:
                of, before = owning_profile(scenario, path), value_at(scenario, path)
            except InputError as error:
                faults.setdefault(path, error)
                continue
            thought = prior(path, before)
            if thought is not None:
                found.setdefault((path, of), Parameter(path, of, before, thought))
    for path in paths:
        if path in faults and not any(path == one.path for one in found.values()):
            raise faults[path]
    return list(found.values())
