"""The testbed: its links fitted on 2 and 4 hosts, more hosts, other policies and another rate predicted."""

from collections.abc import Iterator
from dataclasses import replace

from lbsim.targets._line import TESTBED, Line
from lbsim.targets._place import Place
from lbsim.testbed_fit import FITTED_HOSTS, Measured, compute, fit, read

_AIMED = Line(TESTBED, "", mean_aim=0.03, worst_aim=0.08)
_STEPS, _UNFUSED = "steps", "steps without fusion"
_LARGE, _SMALL = "all-reduce, 256 KiB and more", "all-reduce, less"
_LINES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("steps, 2 and 4 hosts", _STEPS, FITTED_HOSTS),
    ("steps, 8 hosts", _STEPS, (8,)),
    ("steps, 16 hosts", _STEPS, (16,)),
    ("steps without fusion", _UNFUSED, (2, 4, 8, 16)),
    ("all-reduces from 256 KiB", _LARGE, (2, 4, 8, 16)),
    ("all-reduces below 256 KiB", _SMALL, (2, 4, 8, 16)),
)
"""What, of which class of the measurements, on how many hosts."""


def lines(place: Place) -> Iterator[Line]:
    """Yield the errors of what was not fitted, by class."""
    folder = place.traces / "testbed"
    rows = read(folder)
    if not rows:
        yield replace(_AIMED, what="all not fitted").not_here(f"no traces in {folder}; a source checkout has them")
        return
    model = fit([row for row in rows if row.fitted], compute(folder))
    errors = {row: model.seconds(row) / row.seconds - 1 for row in rows if not row.fitted}
    for what, group, hosts in _LINES:
        own = {_name(row): error for row, error in errors.items() if row.group == group and row.hosts in hosts}
        line = replace(_AIMED, what=what)
        yield line.of_errors(own.items()) if own else line.not_here(f"no such trace in {folder}")


def _name(row: Measured) -> str:
    return f"{row.hosts}x{row.rate * 8 / 1e6:.0f} {row.label}"
