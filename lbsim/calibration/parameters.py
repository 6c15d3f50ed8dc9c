"""Parameters of a fit: each is one number of one profile, shared by all scenarios that have the profile."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lbsim.calibration.priors import Prior, prior
from lbsim.calibration.transforms import to_unconstrained
from lbsim.errors import InputError
from lbsim.scenario.paths import owning_profile, value_at
from lbsim.scenario.scenario import Scenario

__all__ = ["Parameter", "parameters"]

_SAME = 1e-9
"""Relative difference below which a number is unchanged from the profile."""


@dataclass(frozen=True)
class Parameter:
    """One number of one profile: ``cluster.inter_node.latency`` of ``ib-edr``."""

    path: str
    """Dotted path in a scenario."""
    of: str
    """Name of the profile."""
    before: float
    """Value of the profile, in SI units."""
    prior: Prior

    @property
    def shipped(self) -> float | None:
        """Unconstrained value of the profile; None if the transform is not defined there, as the log of 0."""
        transform = self.prior.transform
        if transform != "linear" and not 0 < self.before < (1 if transform == "logit" else math.inf):
            return None
        return to_unconstrained(self.before, transform)

    def stands_in(self, scenario: Scenario) -> bool:
        """Return whether *scenario* has this number, with the profile's value."""
        try:
            same = owning_profile(scenario, self.path) == self.of
            return same and math.isclose(value_at(scenario, self.path), self.before, rel_tol=_SAME)
        except InputError:
            return False


def parameters(scenarios: Iterable[Scenario], paths: Sequence[str]) -> list[Parameter]:
    """Return the parameters at *paths* of all profiles in *scenarios*; InputError for a path that no scenario has.

    ``cluster.inter_node.latency`` is one parameter of all scenarios with ``ib-edr`` and another one of those with
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
            distribution = prior(path, before)
            if distribution is not None:
                found.setdefault((path, of), Parameter(path, of, before, distribution))
    for path in paths:
        if path in faults and not any(path == one.path for one in found.values()):
            raise faults[path]
    return list(found.values())
