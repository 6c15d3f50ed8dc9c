"""The whole of lbsim on one page: hardware, model, software and plan go in, a prediction comes out."""

from lbsim.anchor import anchored
from lbsim.compute import compute_times
from lbsim.interval import interval
from lbsim.memory import check_fits
from lbsim.metrics import Prediction, breakdown, training_time
from lbsim.play import play
from lbsim.scenario import Scenario


def predict(scenario: Scenario, level: float = 0.9) -> Prediction:
    """Return how fast *scenario* trains, why, and within what bounds with probability *level*.

    InputError if it cannot run: the batch does not fit the memory, the all-reduce does not suit the GPUs.

    >>> from lbsim import Scenario
    >>> prediction = predict(Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32))
    >>> 0.6 < prediction.scaling_efficiency < 0.8  # Akiba et al. measured 0.70
    True
    """
    needed = check_fits(scenario)
    times = compute_times(scenario)
    scale = anchored(scenario, times)
    times = times.scaled(scale)
    run, node, alone = (play(scenario, times, gpus) for gpus in _scales(scenario))
    plan, update = scenario.plan, times.update
    step_time = run.timeline.step_time
    values = {
        "throughput": plan.batch / step_time,
        "throughput_per_gpu": plan.batch_per_gpu / step_time,
        "step_time": step_time,
        "scaling_efficiency": alone.timeline.step_time / step_time,
        "scaling_efficiency_vs_node": node.timeline.step_time / step_time,
        "time_to_train": training_time(plan, scenario.workload, step_time, times.forward),
    }
    return Prediction(
        scenario=scenario,
        **values,
        breakdown=breakdown(times, run.timeline, run.stretch, update),
        communication_time=run.timeline.busy("communication"),
        interval=interval(scenario, values, level),
        memory=needed,
        buffers=run.transfers,
        timeline=run.timeline,
        compute_scale=scale,
    )


def _scales(scenario: Scenario) -> tuple[int, int, int]:
    """Return the GPUs asked for, those of a node among them, and one."""
    gpus = scenario.plan.gpus
    return gpus, min(gpus, scenario.cluster.gpus_per_node), 1
