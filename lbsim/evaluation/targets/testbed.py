"""The testbed: its links fitted on 2 and 4 hosts, more hosts, other policies and another rate predicted."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import TESTBED, Line
from lbsim.evaluation.testbed_model import FITTED_HOSTS, LEFT_OUT_RATE, Measured, compute, fit, read

_AIMED = Line(TESTBED, "", mean_aim=0.03, worst_aim=0.08)
_STEPS, _UNFUSED = "steps", "steps without fusion"
_LARGE, _SMALL = "all-reduce, 256 KiB and more", "all-reduce, less"
_MOST = 16
"""Hosts, which at 80 and 120 Mb/s keep the processors of the machine busy."""
_LINES: dict[str, Callable[[Measured], bool]] = {
    "all that was not fitted": lambda _: True,
    "steps, 2 and 4 hosts": lambda row: row.group == _STEPS and row.hosts in FITTED_HOSTS,
    "steps, 8 hosts": lambda row: row.group == _STEPS and row.hosts == 8,
    "steps, 16 hosts, 40 Mb/s": lambda row: row.group == _STEPS and row.hosts == _MOST and row.rate < LEFT_OUT_RATE,
    "steps, 16 hosts, more": lambda row: row.group == _STEPS and row.hosts == _MOST and row.rate >= LEFT_OUT_RATE,
    "steps without fusion": lambda row: row.group == _UNFUSED,
    "256 KiB up, 2 to 8 hosts": lambda row: row.group == _LARGE and row.hosts < _MOST,
    "256 KiB up, 16 hosts": lambda row: row.group == _LARGE and row.hosts == _MOST,
    "below 256 KiB": lambda row: row.group == _SMALL,
}
"""Which of what was measured; the last three are all-reduces."""


def lines(place: Place) -> Iterator[Line]:
    """Yield the errors of what was not fitted, by class."""
    folder = place.traces / "testbed"
    rows = read(folder)
    if not rows:
        yield replace(_AIMED, what=next(iter(_LINES))).not_here(f"no traces in {folder}; a source checkout has them")
        return
    model = fit([row for row in rows if row.fitted], compute(folder))
    errors = {row: model.seconds(row) / row.seconds - 1 for row in rows if not row.fitted}
    for what, is_meant in _LINES.items():
        own = {_name(row): error for row, error in errors.items() if is_meant(row)}
        line = replace(_AIMED, what=what)
        yield line.of_errors(own.items()) if own else line.not_here(f"no such trace in {folder}")


def _name(row: Measured) -> str:
    return f"{row.hosts}x{row.rate * 8 / 1e6:.0f} {row.label}"
