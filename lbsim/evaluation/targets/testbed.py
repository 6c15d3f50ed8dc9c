"""The testbed: its links fitted on 2 and 4 hosts, more hosts, other policies and another rate predicted."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import TESTBED, Line
from lbsim.evaluation.testbed_measurements import (
    FITTED_HOSTS,
    HELD_OUT_RATE,
    TestbedSetup,
    read_measurements,
    replayed_steps,
)
from lbsim.evaluation.testbed_model import fit

_AIMED = Line(TESTBED, "", mean_aim=0.03, worst_aim=0.08)
_STEPS, _UNFUSED = "steps", "steps without fusion"
_LARGE, _SMALL = "all-reduce, 256 KiB and more", "all-reduce, less"
_MOST = 16
"""Hosts, which at 80 and 120 Mb/s keep the processors of the machine busy."""
_LINES: dict[str, Callable[[TestbedSetup], bool]] = {
    "all that was not fitted": lambda _: True,
    "steps, 2 and 4 hosts": lambda one: one.group == _STEPS and one.hosts in FITTED_HOSTS,
    "steps, 8 hosts": lambda one: one.group == _STEPS and one.hosts == 8,
    "steps, 16 hosts, 40 Mb/s": lambda one: one.group == _STEPS and one.hosts == _MOST and one.rate < HELD_OUT_RATE,
    "steps, 16 hosts, more": lambda one: one.group == _STEPS and one.hosts == _MOST and one.rate >= HELD_OUT_RATE,
    "steps without fusion": lambda one: one.group == _UNFUSED,
    "256 KiB up, 2 to 8 hosts": lambda one: one.group == _LARGE and one.hosts < _MOST,
    "256 KiB up, 16 hosts": lambda one: one.group == _LARGE and one.hosts == _MOST,
    "below 256 KiB": lambda one: one.group == _SMALL,
}
"""Which of what was measured; the last three are all-reduces."""


def lines(place: Place) -> Iterator[Line]:
    """Yield the errors of what was not fitted, by class."""
    folder = place.traces / "testbed"
    measured = read_measurements(folder)
    if not measured:
        yield replace(_AIMED, what=next(iter(_LINES))).not_here(f"no traces in {folder}; a source checkout has them")
        return
    model = fit({setup: one for setup, one in measured.items() if setup.fitted}, replayed_steps(folder))
    errors = {setup: model.seconds(setup) / one.value - 1 for setup, one in measured.items() if not setup.fitted}
    for what, is_meant in _LINES.items():
        own = {_name(setup): error for setup, error in errors.items() if is_meant(setup)}
        line = replace(_AIMED, what=what)
        yield line.of_errors(own.items()) if own else line.not_here(f"no such trace in {folder}")


def _name(setup: TestbedSetup) -> str:
    return f"{setup.hosts}x{setup.rate * 8 / 1e6:.0f} {setup.label}"
