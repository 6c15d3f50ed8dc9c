"""Answers as tables that people read: 80 columns wide, without boxes, without colour."""

from lbsim.tables.advice import of_explanation, of_tuning
from lbsim.tables.calibration import of_calibration
from lbsim.tables.comparison import of_comparison
from lbsim.tables.entries import of_entries
from lbsim.tables.prediction import of_prediction, of_ranks
from lbsim.tables.timing import of_sweep, of_timing
from lbsim.tables.validation import of_validation

__all__ = [
    "of_calibration",
    "of_comparison",
    "of_entries",
    "of_explanation",
    "of_prediction",
    "of_ranks",
    "of_sweep",
    "of_timing",
    "of_tuning",
    "of_validation",
]
