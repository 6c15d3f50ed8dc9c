"""Experiment on the testbed: its links are fitted on 2 and 4 hosts, everything else is predicted."""

from lbsim.evaluation.targets.data import TargetData
from lbsim.evaluation.targets.evaluate import Outcome, Outcomes
from lbsim.evaluation.testbed_measurements import FITTED_HOSTS, TestbedSetup, read_measurements, replayed_steps
from lbsim.evaluation.testbed_model import fit

__all__ = ["outcomes"]

_MOST_HOSTS = 16


def outcomes(data: TargetData) -> Outcomes:
    """Return the prediction of each setup that was not fitted."""
    folder = data.traces / "testbed"
    measured = read_measurements(folder)
    if not measured:
        return Outcomes((), f"no traces in {folder}; a source checkout has them")
    model = fit({setup: one for setup, one in measured.items() if setup.fitted}, replayed_steps(folder))
    errors = {setup: model.seconds(setup) / one.value - 1 for setup, one in measured.items() if not setup.fitted}
    return Outcomes(tuple(Outcome(_name(setup), _class(setup), error) for setup, error in errors.items()))


def _name(setup: TestbedSetup) -> str:
    return f"{setup.hosts}x{setup.rate * 8 / 1e6:.0f} {setup.label}"


def _class(setup: TestbedSetup) -> str:
    """Return the class of *setup*: its group, and the hosts where their number matters."""
    if setup.group == "steps":
        if setup.hosts == _MOST_HOSTS:
            return f"steps, 16 hosts, {setup.rate * 8 / 1e6:.0f} Mb/s"
        return "steps, 2 and 4 hosts" if setup.hosts in FITTED_HOSTS else f"steps, {setup.hosts} hosts"
    if setup.group == "all-reduce, 256 KiB and more":
        return f"{setup.group}, {'16 hosts' if setup.hosts == _MOST_HOSTS else '2 to 8 hosts'}"
    return setup.group
