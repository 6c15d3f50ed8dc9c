"""A whole training run, not only its steps: validation, checkpoints, nodes that fail, runs that never arrive."""

import math
from dataclasses import dataclass

import numpy as np

from lbsim.accuracy.convergence import FAILURE, Array, Estimate
from lbsim.errors import InputError
from lbsim.profiles.hardware import Cluster
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import training_time
from lbsim.simulation.prediction import Prediction
from lbsim.units import TIME

ASSUMED_NODE_MTBF = 264 * 86400.0
"""Seconds, for clusters whose profile has no ``node_mtbf``: 419 unexpected interruptions in 54 days of 16,384 H100 on
2,048 nodes, A. Grattafiori et al., "The Llama 3 Herd of Models," arXiv:2407.21783, section 3.3.4. Nodes with
fewer GPUs than eight may fail less often."""
_CHECKPOINT_BYTES = 8
"""Of each parameter: fp32 weights and momentum."""
_RUNS = 2000
_NORMAL_90 = 1.6449
"""Standard deviations between the middle and an end of a 90 % interval."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong besides nodes, whose failures are the cluster's, and which of all that may happen is drawn."""

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
    any node: J. W. Young, "A first order approximation to the optimum checkpoint interval," CACM 17(9), 1974. Failures
    are a Poisson process; each costs the restart and on average half an interval of work. What fails while lost work
    is done again is left out, so that this is too quick where failures are not much rarer than checkpoints.
    """
    scenario = prediction.scenario
    plan = scenario.plan.model_copy(update={"epochs": epochs, "validate_each_epoch": True})
    clean = training_time(plan, scenario.workload, prediction.step_time, prediction.breakdown.forward)
    cost = scenario.workload.parameters * _CHECKPOINT_BYTES / scenario.cluster.checkpoint_bandwidth
    mtbf = _mtbf(scenario, cost)
    interval = max(cost, math.sqrt(2 * cost * mtbf))
    times, failures = _simulated(prediction, clean * (1 + cost / interval), interval=interval, mtbf=mtbf, faults=faults)
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


def node_mtbf(cluster: Cluster) -> float:
    """Return the seconds between failures of one node: the profile's, else what is assumed."""
    return cluster.node_mtbf or ASSUMED_NODE_MTBF


def _mtbf(scenario: Scenario, checkpoint: float) -> float:
    """Return the seconds between failures of any node that trains; InputError if no run gets past them."""
    cluster, nodes = scenario.cluster, math.ceil(scenario.plan.gpus / scenario.cluster.gpus_per_node)
    mtbf = node_mtbf(cluster) / nodes
    if mtbf <= cluster.restart + checkpoint:
        raise InputError(
            f"cluster.node_mtbf = {TIME.short(node_mtbf(cluster), 3)} on {nodes:,} nodes is a failure every "
            f"{TIME.short(mtbf, 3)}, sooner than a restart and a checkpoint take: no run would end"
        )
    return mtbf


def _simulated(
    prediction: Prediction, work: float, *, interval: float, mtbf: float, faults: Faults
) -> tuple[Array, float]:
    """Return the seconds of many runs of *work* seconds, checkpoints included, and the failures expected in one."""
    generator = np.random.default_rng(faults.seed)
    bounds = prediction.interval.ranges["step_time"]
    draws = generator.standard_normal(_RUNS) / _NORMAL_90
    slower = math.log(bounds.high / prediction.step_time)
    quicker = math.log(prediction.step_time / bounds.low)
    expected = work / mtbf
    works = work * np.exp(np.where(draws > 0, slower, quicker) * draws)
    happened = generator.poisson(works / mtbf)
    # work lost since the last checkpoint is uniform over the interval, so a sum of many is near its normal
    lost = interval * (happened / 2 + np.sqrt(happened / 12) * generator.standard_normal(_RUNS))
    lost = np.clip(lost, 0, interval * happened)
    return works + np.minimum(lost, works * happened) + prediction.scenario.cluster.restart * happened, expected
