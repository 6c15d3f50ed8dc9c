"""The errors that predictions had on rows that the fit had not seen, by class of prediction.

Each is a *lag*, the logarithm of observed over predicted seconds: above zero where the real machine was slower. They
stand under what was left out together, because `lbsim.uncertainty.conformal` weighs these groups and not the rows.
"""

from typing import Annotated, Any, ClassVar, cast

from pydantic import AllowInfNan, BeforeValidator, Field

from lbsim.profiles.profile import Profile, Table
from lbsim.uncertainty.conformal import Bounds, Groups, bounds
from lbsim.units import Factor, Share


def _split(given: Any) -> Any:
    """Return the words of a text, which are read in a quarter of the time that an array of TOML takes."""
    return given.split() if isinstance(given, str) else given


_Lags = Annotated[tuple[Annotated[float, AllowInfNan(False)], ...], Field(min_length=1), BeforeValidator(_split)]
Lags = Annotated[dict[str, _Lags], Field(min_length=2)]
"""By what was left out together; of one group alone nothing is learnt about the next."""


EARLY = 2018
"""The last year of early software. Of 2019 hardly a rate is published; what came after fuses, overlaps and feeds GPUs
better."""


class ByArithmetic(Table):
    """By whether tensor cores are used, TF32 among them."""

    vector: Lags
    tensor: Lags


class BySoftware(Table):
    """By the age of the software and by whether tensor cores are used."""

    early: Lags
    """Of `EARLY` or before, on whatever cores."""
    vector: Lags
    tensor: Lags


class Residuals(Profile):
    """Lags of what was left out, by class."""

    kind: ClassVar[str] = "residuals"

    model: ByArithmetic
    """One accelerator, a model that the fit had not seen."""
    system: ByArithmetic
    """One accelerator, a source that the fit had not seen, with a software that it had."""
    software: Lags
    """The same with a software that it had not seen either."""
    card: ByArithmetic
    """One accelerator that the fit had not seen."""
    several: BySoftware
    """Rates and times of several accelerators, not anchored, of a source that the fit had not seen."""
    several_software: BySoftware
    """The same with a software that the fit had not seen either."""
    in_node: ByArithmetic
    """Scaling from one accelerator to several of a node, anchored on the one."""
    across_nodes: ByArithmetic
    larger: ByArithmetic
    """Scaling to more accelerators than were measured, of a system whose smaller scales the fit has seen."""
    anchored_batch: Lags
    """One accelerator anchored on the same model and precision with another batch."""
    anchored_precision: Lags
    """One accelerator anchored on the same model at another precision."""
    all_reduce: Lags
    """One all-reduce, alone on its links."""
    anchored: Factor
    """Half-width that holds 90 % of runs of one configuration, in the logarithm."""
    spread_low: Share
    """Spread of the ranks' steps that is below what 95 % of systems have."""
    spread_high: Share

    def of(self, name: str) -> Groups:
        """Return the lags of the class *name*, such as ``all_reduce`` or ``model.vector``."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part)
        return cast("Groups", found)

    def bounds(self, name: str, level: float, without: frozenset[str] = frozenset()) -> Bounds:
        """Return how far off another prediction of class *name* is with probability *level*.

        *without* names groups that must not speak: the system itself, where what is known of it is tested.
        """
        found = {group: lags for group, lags in self.of(name).items() if group not in without}
        return bounds(found or self.of(name), level)
