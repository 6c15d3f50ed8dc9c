"""Reports: figures, their numbers and an HTML page, in one folder.

Each module of ``lbsim.report.figures`` is one figure; a module that is added there is drawn. No other package imports
matplotlib or jinja2.
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
