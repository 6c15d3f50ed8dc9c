"""A folder of figures, their numbers and a page that tells of both. One figure a file; a file that is added is drawn.

Files whose names begin with ``_`` are what the figures share. matplotlib is imported nowhere else.
"""

from lbsim.report._folder import Report, draw_all, write
from lbsim.report._price import Price
from lbsim.report._seeds import SEEDS, seed_report
from lbsim.report._subject import Run, Subject, labelled
from lbsim.report.parity import write_parity

__all__ = ["SEEDS", "Price", "Report", "Run", "Subject", "draw_all", "labelled", "seed_report", "write", "write_parity"]
