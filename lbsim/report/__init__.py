"""A folder of figures, their numbers and a page that tells of both. One figure a file; a file that is added is drawn.

Files whose names begin with ``_`` are what the figures share. matplotlib is imported nowhere else.
"""

from lbsim.report.figures.parity import write_parity
from lbsim.report.price import Price
from lbsim.report.record_systems import RECORD_SYSTEMS, record_report
from lbsim.report.scenarios import ReportScenario, ReportScenarios, labelled
from lbsim.report.writer import Report, draw_all, write

__all__ = [
    "RECORD_SYSTEMS",
    "Price",
    "Report",
    "ReportScenario",
    "ReportScenarios",
    "draw_all",
    "labelled",
    "record_report",
    "write",
    "write_parity",
]
