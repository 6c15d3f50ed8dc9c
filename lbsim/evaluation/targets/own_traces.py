"""Experiment on lbsim's own traces: one machine's efficiencies are fitted without each model, which is predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lbsim.calibration.calibrate import fit
from lbsim.calibration.observations import read_observations
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.targets.data import TargetData
from lbsim.evaluation.targets.evaluate import Outcomes, outcome
from lbsim.measurements.observation import CaseLabels, Observation
from lbsim.measurements.trace import read_trace
from lbsim.profiles.catalog import SHIPPED
from lbsim.simulation.metrics import ScenarioMetrics

_FILES = "step-*-epyc.json"
_ASKED = {"cluster": "epyc-loopback", "software": "pytorch-cpu", "plan": {"gpus": 1}}
STARTS = {
    "software.speed.vector": 0.25,
    "cluster.accelerator.peak.fp32": "472 GFLOP/s",
    "cluster.accelerator.memory_bandwidth": "20 GB/s",
}
"""What is fitted, and where from: nothing of any one model, and no measurement of these.

The law has three rates here. Products: speed x efficiency x peak, from oneDNN's 0.54 of one core with AVX-512 at
3.7 GHz, 64 GFLOP/s. What layers move: speed x bandwidth, a quarter of what a copy moves, for PyTorch's batch norm
and pooling on one core compute rather than wait for memory. What the update moves: bandwidth alone.
"""


def outcomes(data: TargetData) -> Outcomes:
    """Return the prediction of each step, by a fit to the steps of the other models."""
    folder = data.traces / "harness"
    files = sorted(folder.glob(_FILES))
    if len(files) < 2:
        return Outcomes((), f"no two files {_FILES} in {folder}; a source checkout has them")
    return Outcomes(tuple(outcome(one) for one in residuals(files)))


def residuals(files: Sequence[Path]) -> Iterator[Residual]:
    """Yield the residual of each step in *files*, predicted by a fit to the steps of the other models."""
    measured = [one for file in files for one in steps(file)]
    for model in dict.fromkeys(one.scenario.model for one in measured):
        fitted = fit([one for one in measured if one.scenario.model != model], tuple(STARTS))
        for one in measured:
            if one.scenario.model == model:
                labels = CaseLabels(id=f"{model} x {one.scenario.plan.batch_per_gpu}", quantity=one.quantity)
                predicted = ScenarioMetrics(fitted.with_values(one.scenario)).value(one.quantity)
                yield Residual(replace(one, case=labels), predicted)


def steps(file: Path) -> list[Observation]:
    """Return the whole steps of *file*, one model's."""
    model = str(read_trace(file).settings.get("model"))
    found = read_observations([file], _ASKED | {"model": model}, STARTS, SHIPPED).observations
    return [one for one in found if one.quantity == "step_time"]
