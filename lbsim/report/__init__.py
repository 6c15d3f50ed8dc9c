"""A folder of figures, their numbers and a page that tells of both. One figure a file; a file that is added is drawn.

Files whose names begin with ``_`` are what the figures share. matplotlib is imported nowhere else.
"""

from lbsim.report.figures.parity import write_parity
from lbsim.report.price import Price
from lbsim.report.record_systems import SEEDS, seed_report
from lbsim.report.subject import Run, Subject, labelled
from lbsim.report.writer import Report, draw_all, write

__all__ = ["SEEDS", "Price", "Report", "Run", "Subject", "draw_all", "labelled", "seed_report", "write", "write_parity"]
