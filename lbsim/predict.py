"""The whole of lbsim on one page: hardware, model, software and plan go in, a prediction comes out."""

from lbsim.interval import interval
from lbsim.memory import check_fits
from lbsim.metrics import Prediction
from lbsim.scenario import Scenario
from lbsim.steps import VALUES, Steps


def predict(scenario: Scenario, level: float = 0.9) -> Prediction:
    """Return how fast *scenario* trains, why, and within what bounds with probability *level*.

    InputError if it cannot run: the batch does not fit the memory, the all-reduce does not suit the GPUs.

    >>> from lbsim import Scenario
    >>> prediction = predict(Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32))
    >>> 0.6 < prediction.scaling_efficiency < 0.8  # Akiba et al. measured 0.70
    True
    """
    needed = check_fits(scenario)
    steps = Steps(scenario)
    values = {quantity: steps.value(quantity) for quantity in VALUES}
    return Prediction(
        scenario=scenario,
        **values,
        breakdown=steps.breakdown,
        communication_time=steps.value("communication_time"),
        interval=interval(scenario, values, level),
        memory=needed,
        buffers=steps.run.transfers,
        timeline=steps.run.timeline,
        compute_scale=steps.compute_scale,
    )
