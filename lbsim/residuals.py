"""The errors that predictions had on rows that the fit had not seen, by class."""

from typing import ClassVar

from lbsim.profile import Profile, Table
from lbsim.units import Efficiency, Factor, Share


class Widths(Table):
    """Half-widths by class of arithmetic."""

    vector: Factor
    tf32: Factor
    tensor: Factor


class Residuals(Profile):
    """Half-widths, in the logarithm, that held the share *level* of left-out rows."""

    kind: ClassVar[str] = "residuals"

    level: Efficiency
    model: Widths
    """One accelerator, a model that the fit had not seen; the batch and the rest are part of it."""
    software: Widths
    """A source, and so mostly a software, that the fit had not seen."""
    card: Widths
    """A card that the fit had not seen."""
    anchored: Factor
    """The same model, batch and precision as a measured row's."""
    anchored_batch: Factor
    """The same model and precision, another batch."""
    anchored_precision: Factor
    """The same model, another precision."""
    vector_in_node: Factor
    """Scaling from one GPU to several of a node."""
    vector_across_nodes: Factor
    tensor_in_node: Factor
    tensor_across_nodes: Factor
    all_reduce: Factor
    """The time of one all-reduce, alone on its links."""
    spread_low: Share
    """Spread of the ranks' steps that is below what 95 % of systems have."""
    spread_high: Share
