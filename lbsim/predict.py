"""The whole of lbsim on one page: hardware, model, software and plan go in, a prediction comes out."""

from typing import TYPE_CHECKING

from lbsim.compute.memory import check_fits
from lbsim.errors import InputError
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import METRICS, ScenarioMetrics
from lbsim.simulation.prediction import Prediction
from lbsim.uncertainty.interval import CalibrationSpread, interval

if TYPE_CHECKING:
    from lbsim.calibration.calibration import Calibration  # for start-up time alone


def predict(scenario: Scenario, level: float = 0.9, calibration: "Calibration | None" = None) -> Prediction:
    """Return how fast *scenario* trains, why, and within what bounds with probability *level*.

    A *calibration* gives its values, and makes the interval wider by what it leaves open of them.

    InputError if it cannot run: the batch does not fit the memory, the all-reduce does not suit the GPUs.

    >>> from lbsim import Scenario
    >>> prediction = predict(Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32))
    >>> 0.6 < prediction.scaling_efficiency < 0.8  # Akiba et al. measured 0.70
    True
    """
    measured = CalibrationSpread({}, frozenset(), 0.0)
    if calibration is not None:
        if not calibration.said_of(scenario):
            raise InputError(_says_nothing(calibration, scenario))
        spread = dict(zip(METRICS, calibration.spread(scenario, _values), strict=True))
        measured = CalibrationSpread(
            spread, frozenset(one.path for one in calibration.said_of(scenario)), calibration.noise
        )
        scenario = calibration.apply(scenario)
    needed = check_fits(scenario)
    steps = ScenarioMetrics(scenario)
    values = {quantity: steps.value(quantity) for quantity in METRICS}
    return Prediction(
        scenario=scenario,
        **values,
        breakdown=steps.breakdown,
        communication_time=steps.value("communication_time"),
        interval=interval(scenario, values, level, measured),
        memory=needed,
        buffers=steps.all_gpus.transfers,
        timeline=steps.all_gpus.timeline,
        compute_scale=steps.compute_scale,
        calibration=calibration.name if calibration else None,
    )


def _values(scenario: Scenario) -> list[float]:
    steps = ScenarioMetrics(scenario)
    return [steps.value(quantity) for quantity in METRICS]


def _says_nothing(calibration: "Calibration", scenario: Scenario) -> str:
    of = ", ".join(dict.fromkeys(one.of for one in calibration.fitted)) or "nothing"
    return (
        f"calibration {calibration.name}: it has values of {of}, and none of these is in this scenario on "
        f"{scenario.cluster.name} as its profile has it; leave out --calibration, or fit one to this machine"
    )
