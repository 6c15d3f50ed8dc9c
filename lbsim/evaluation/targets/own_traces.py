"""Our own traces of one machine and framework: its efficiencies fitted to the other models, each model predicted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lbsim.calibration.calibrate import fit
from lbsim.calibration.observations import find
from lbsim.evaluation.targets.dataset import Place
from lbsim.evaluation.targets.result import OWN_TRACES, Line
from lbsim.measurements.observation import Observation
from lbsim.measurements.trace import read_trace
from lbsim.profiles.catalog import SHIPPED
from lbsim.simulation.metrics import ScenarioMetrics

_LINE = Line(OWN_TRACES, "each model left out", mean_aim=0.05, worst_aim=0.12)
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


def lines(place: Place) -> Iterator[Line]:
    """Yield the errors of the steps of each model that the fit has not seen."""
    files = sorted((place.traces / "harness").glob(_FILES))
    if len(files) < 2:
        folder = place.traces / "harness"
        yield _LINE.not_here(f"no two files {_FILES} in {folder}; a source checkout has them")
        return
    yield _LINE.of_errors(errors(files))


def errors(files: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """Yield the relative error of each step in *files*, with its name, when nothing of its model was fitted to."""
    seen = [one for file in files for one in steps(file)]
    for model in dict.fromkeys(one.scenario.model for one in seen):
        fitted = fit([one for one in seen if one.scenario.model != model], tuple(STARTS))
        for one in seen:
            if one.scenario.model == model:
                predicted = ScenarioMetrics(fitted.apply(one.scenario)).value(one.quantity)
                yield f"{model} x {one.scenario.plan.batch_per_gpu}", predicted / one.value - 1


def steps(file: Path) -> list[Observation]:
    """Return the whole steps of *file*, one model's."""
    model = str(read_trace(file).settings.get("model"))
    found = find([file], _ASKED | {"model": model}, STARTS, SHIPPED).observations
    return [one for one in found if one.quantity == "step_time"]
