"""Prediction of a scenario: from hardware, model, software and plan to speed, breakdown and intervals."""

from typing import TYPE_CHECKING

from lbsim.compute.memory import check_fits
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import METRICS, ScenarioMetrics
from lbsim.simulation.prediction import Prediction
from lbsim.uncertainty.interval import CalibrationSpread, interval

if TYPE_CHECKING:
    from lbsim.calibration.calibration import Calibration  # for start-up time alone

__all__ = ["predict"]


def predict(scenario: Scenario, level: float = 0.9, calibration: "Calibration | None" = None) -> Prediction:
    """Return the predicted speed of *scenario*, its breakdown, and prediction intervals of probability *level*.

    A *calibration* overrides the profiles' values with fitted ones; their covariance widens the intervals.

    InputError if the scenario cannot run, because the batch exceeds the memory or the all-reduce does not suit the
    number of GPUs, or if the calibration does not apply to it.

    >>> from lbsim import Scenario
    >>> prediction = predict(Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32))
    >>> 0.6 < prediction.scaling_efficiency < 0.8  # Akiba et al. measured 0.70
    True
    """
    measured = CalibrationSpread({}, frozenset(), 0.0)
    if calibration is not None:
        applied = calibration.apply(scenario)
        scenario, measured = applied.scenario, CalibrationSpread(applied.spread, applied.paths, calibration.noise)
    memory = check_fits(scenario)
    metrics = ScenarioMetrics(scenario)
    values = {quantity: metrics.value(quantity) for quantity in METRICS}
    return Prediction(
        scenario=scenario,
        **values,
        breakdown=metrics.breakdown,
        communication_time=metrics.value("communication_time"),
        interval=interval(scenario, values, level, measured),
        memory=memory,
        buffers=metrics.all_gpus.transfers,
        timeline=metrics.all_gpus.timeline,
        compute_scale=metrics.compute_scale,
        calibration=calibration.name if calibration else None,
    )
