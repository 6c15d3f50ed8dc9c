"""Held-out errors of predictions by class, from which intervals are computed.

An error is a *lag*: the logarithm of observed over predicted seconds, positive where the real system is slower. Lags
are grouped by what was held out at once, because `lbsim.uncertainty.conformal` weights groups and not rows.
"""

from typing import Annotated, Any, ClassVar, cast

from pydantic import AllowInfNan, BeforeValidator, Field

from lbsim.profiles.profile import Profile, Table
from lbsim.uncertainty.conformal import Bounds, Groups, bounds
from lbsim.units import Factor, Share

__all__ = ["LAST_EARLY_YEAR", "LagsByArithmetic", "LagsBySoftware", "Residuals"]


def _split(given: Any) -> Any:
    """Return the words of a text, which parses in a quarter of the time of a TOML array."""
    return given.split() if isinstance(given, str) else given


_Lags = Annotated[tuple[Annotated[float, AllowInfNan(False)], ...], Field(min_length=1), BeforeValidator(_split)]
_LagsByGroup = Annotated[dict[str, _Lags], Field(min_length=2)]
"""Lags by held-out group; one group carries no information about the next, so there are at least two."""


LAST_EARLY_YEAR = 2018
"""Last release year of early software. Hardly any rate of 2019 is published; later software fuses operations, overlaps
communication and feeds the GPUs better."""


class LagsByArithmetic(Table):
    """Lags by the units that compute products: vector units, or tensor cores (TF32 included)."""

    vector: _LagsByGroup
    tensor: _LagsByGroup


class LagsBySoftware(Table):
    """Lags by age of the software, and for recent software by arithmetic."""

    early: _LagsByGroup
    """Software of `LAST_EARLY_YEAR` or before, with any arithmetic."""
    vector: _LagsByGroup
    tensor: _LagsByGroup


class Residuals(Profile):
    """Lags of held-out rows, by class of prediction."""

    kind: ClassVar[str] = "residuals"

    model: LagsByArithmetic
    """One accelerator, held-out model."""
    system: LagsByArithmetic
    """One accelerator, held-out source, software seen by the fit."""
    software: _LagsByGroup
    """One accelerator, held-out source and software."""
    card: LagsByArithmetic
    """Held-out accelerator."""
    several: LagsBySoftware
    """Several accelerators, not anchored, held-out source: rates and times."""
    several_software: LagsBySoftware
    """Several accelerators, not anchored, held-out source and software."""
    in_node: LagsByArithmetic
    """Scaling from one accelerator, the anchor, to several of one node."""
    across_nodes: LagsByArithmetic
    """Scaling from one accelerator, the anchor, to several nodes."""
    larger: LagsByArithmetic
    """Scaling to more accelerators than the fit has seen of the same system."""
    anchored_batch: _LagsByGroup
    """One accelerator, anchored on the same model and precision at another batch."""
    anchored_precision: _LagsByGroup
    """One accelerator, anchored on the same model at another precision."""
    all_reduce: _LagsByGroup
    """One all-reduce without other traffic."""
    anchored: Factor
    """Half-width, in the logarithm, of the 90 % interval of repeated runs of one configuration."""
    spread_low: Share
    """Lower bound of the spread of step times between ranks, exceeded by 95 % of systems."""
    spread_high: Share
    """Upper bound of the spread of step times between ranks, exceeded by 5 % of systems."""

    def of(self, name: str) -> Groups:
        """Return the lags of the class *name*, such as ``all_reduce`` or ``model.vector``."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part)
        return cast("Groups", found)

    def bounds(self, name: str, level: float, without: frozenset[str] = frozenset()) -> Bounds:
        """Return the bounds of the error of a new prediction of class *name* with probability *level*.

        Groups named in *without* are left out: the predicted system itself, where intervals are tested. If no group
        remains, all are used.
        """
        found = {group: lags for group, lags in self.of(name).items() if group not in without}
        return bounds(found or self.of(name), level)
