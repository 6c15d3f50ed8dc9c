"""A whole training run, not only its steps: validation, checkpoints, nodes that fail, runs that never arrive."""

import math
from dataclasses import dataclass

import numpy as np

from lbsim.convergence import FAILURE, Array, Estimate
from lbsim.metrics import Prediction, training_time

NODE_MTBF = 54 * 86400 * 2048 / 419
"""Seconds, 264 days: 419 unexpected interruptions in 54 days of 16,384 GPUs on 2,048 nodes, A. Grattafiori et al.,
"The Llama 3 Herd of Models," arXiv:2407.21783, section 3.3.4. A cluster's own figure is better."""
_CHECKPOINT_BYTES = 8
"""Of each parameter: fp32 weights and momentum."""
_CHECKPOINT_RATE = 1e9
"""Bytes a second to shared storage; assumed, not measured."""
_RUNS = 2000
_NORMAL_90 = 1.6449
"""Standard deviations between the middle and an end of a 90 % interval."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and what is done against it."""

    mtbf: float = NODE_MTBF
    """Seconds between failures of one node, on average."""
    restart: float = 300.0
    """Seconds until steps go on after a failure; assumed."""
    never_arrives: float = FAILURE
    """Share of runs that end short of the target and are run again."""
    seed: int = 0


@dataclass(frozen=True)
class TrainingRun:
    """How long training takes, in seconds."""

    clean: float
    """Steps and validation if nothing fails."""
    checkpoints: float
    """Writing them."""
    failures: float
    """How many are expected."""
    time: Estimate
    """Of a run that arrives, with failures; the middle of the simulated runs and 90 % of them."""
    mean_with_reruns: float
    """Expected until a run arrives."""
    quantiles: dict[str, float]
    """Of the simulated runs, with reruns."""


def training_run(prediction: Prediction, epochs: float, faults: Faults) -> TrainingRun:
    r"""Simulate many runs of *epochs* at the speed of *prediction*, whose interval is taken as log-normal.

    A checkpoint is written every :math:`\sqrt{2 \delta M}` seconds for a cost δ and a mean time between failures M of
    all nodes: J. W. Young, "A first order approximation to the optimum checkpoint interval," CACM 17(9), 1974. Failures
    are a Poisson process; each costs the restart and on average half an interval of work.
    """
    scenario = prediction.scenario
    plan = scenario.plan.model_copy(update={"epochs": epochs, "validate_each_epoch": True})
    clean = training_time(plan, scenario.workload, prediction.step_time, prediction.breakdown.forward)
    nodes = math.ceil(plan.gpus / scenario.cluster.gpus_per_node)
    cost = scenario.workload.parameters * _CHECKPOINT_BYTES / _CHECKPOINT_RATE
    interval = max(cost, math.sqrt(2 * cost * faults.mtbf / nodes))
    times, failures = _simulated(
        prediction, clean * (1 + cost / interval), interval=interval, nodes=nodes, faults=faults
    )
    generator = np.random.default_rng(faults.seed + 1)
    attempts = generator.geometric(1 - faults.never_arrives, _RUNS)
    until = times * attempts
    low, middle, high = np.quantile(times, (0.05, 0.5, 0.95))
    shares = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    return TrainingRun(
        clean=clean,
        checkpoints=clean * cost / interval,
        failures=failures,
        time=Estimate(float(low), float(middle), float(high)),
        mean_with_reruns=float(times.mean() / (1 - faults.never_arrives)),
        quantiles={f"{share:g}": float(value) for share, value in zip(shares, np.quantile(until, shares), strict=True)},
    )


def _simulated(
    prediction: Prediction, work: float, *, interval: float, nodes: int, faults: Faults
) -> tuple[Array, float]:
    """Return the seconds of many runs of *work* seconds, checkpoints included, and the failures expected in one."""
    generator = np.random.default_rng(faults.seed)
    bounds = prediction.interval.ranges["step_time"]
    draws = generator.standard_normal(_RUNS) / _NORMAL_90
    slower = math.log(bounds.high / prediction.step_time)
    quicker = math.log(prediction.step_time / bounds.low)
    expected = work * nodes / faults.mtbf
    works = work * np.exp(np.where(draws > 0, slower, quicker) * draws)
    happened = generator.poisson(works * nodes / faults.mtbf)
    # work lost since the last checkpoint is uniform over the interval, so a sum of many is near its normal
    lost = interval * (happened / 2 + np.sqrt(happened / 12) * generator.standard_normal(_RUNS))
    lost = np.clip(lost, 0, interval * happened)
    return works + np.minimum(lost, works * happened) + faults.restart * happened, expected
