"""Duration of a complete training run: steps, validation, checkpoints, node failures and reruns."""

import math
from dataclasses import dataclass

import numpy as np

from lbsim.accuracy.convergence_law import FAILURE_SHARE, Estimate, FloatArray
from lbsim.errors import InputError
from lbsim.profiles.hardware import Cluster
from lbsim.scenario.scenario import Scenario
from lbsim.simulation.metrics import training_time
from lbsim.simulation.prediction import Prediction
from lbsim.units import TIME

__all__ = ["ASSUMED_NODE_MTBF", "FaultModel", "TrainingRun", "node_mtbf", "training_run"]

ASSUMED_NODE_MTBF = 264 * 86400.0
"""Mean seconds between failures of one node, for clusters whose profile has no ``node_mtbf``: 419 unexpected
interruptions in 54 days of 16,384 H100 on 2,048 nodes, A. Grattafiori et al., "The Llama 3 Herd of Models,"
arXiv:2407.21783, section 3.3.4. Nodes with fewer GPUs than eight may fail less often."""
_CHECKPOINT_BYTES = 8
"""Bytes of a checkpoint per parameter: fp32 weights and momentum."""
_RUNS = 2000
_NORMAL_90 = 1.6449
"""Standard deviations from the median to either end of a 90 % interval."""


@dataclass(frozen=True)
class FaultModel:
    """Failures of runs, beside those of nodes, and the seed of the simulation."""

    failure_share: float = FAILURE_SHARE
    """Share of runs that end below the target and are run again."""
    seed: int = 0


@dataclass(frozen=True)
class TrainingRun:
    """Duration of a run, in seconds."""

    fault_free_time: float
    """Seconds of steps and validation."""
    checkpoint_time: float
    """Seconds of writing checkpoints."""
    expected_failures: float
    """Expected node failures during one run."""
    time: Estimate
    """Seconds of a run that reaches the target, with node failures; median and 90 % interval of simulated runs."""
    mean_time_with_reruns: float
    """Expected seconds until one run reaches the target."""
    quantiles: dict[str, float]
    """Seconds until one run reaches the target, by probability."""


def training_run(prediction: Prediction, epochs: float, faults: FaultModel) -> TrainingRun:
    r"""Simulate runs of *epochs* at the step time of *prediction*, whose interval is taken as log-normal.

    A checkpoint is written every :math:`\sqrt{2 \delta M}` seconds, for a cost δ and a mean time between failures M of
    any node: J. W. Young, "A first order approximation to the optimum checkpoint interval," CACM 17(9), 1974. Failures
    are a Poisson process; each costs the restart and on average half an interval of work. Failures while lost work is
    repeated are left out, so the result is too short where failures are not much rarer than checkpoints.

    InputError if nodes fail more often than a restart and a checkpoint take.
    """
    scenario = prediction.scenario
    plan = scenario.plan.model_copy(update={"epochs": epochs, "validate_each_epoch": True})
    clean = training_time(plan, scenario.workload, prediction.step_time, prediction.breakdown.forward)
    cost = scenario.workload.parameters * _CHECKPOINT_BYTES / scenario.cluster.checkpoint_bandwidth
    mtbf = _mtbf(scenario, cost)
    interval = max(cost, math.sqrt(2 * cost * mtbf))
    times, failures = _simulated(prediction, clean * (1 + cost / interval), interval=interval, mtbf=mtbf, faults=faults)
    low, middle, high = np.quantile(times, (0.05, 0.5, 0.95))
    return TrainingRun(
        fault_free_time=clean,
        checkpoint_time=clean * cost / interval,
        expected_failures=failures,
        time=Estimate(float(low), float(middle), float(high)),
        mean_time_with_reruns=float(times.mean() / (1 - faults.failure_share)),
        quantiles=_quantiles_with_reruns(times, faults),
    )


def node_mtbf(cluster: Cluster) -> float:
    """Return the mean seconds between failures of one node: the profile's, else `ASSUMED_NODE_MTBF`."""
    return cluster.node_mtbf or ASSUMED_NODE_MTBF


def _quantiles_with_reruns(times: FloatArray, faults: FaultModel) -> dict[str, float]:
    """Return quantiles of the seconds until a run reaches the target, given *times* of single runs."""
    attempts = np.random.default_rng(faults.seed + 1).geometric(1 - faults.failure_share, _RUNS)
    shares = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    values = np.quantile(times * attempts, shares)
    return {f"{share:g}": float(value) for share, value in zip(shares, values, strict=True)}


def _mtbf(scenario: Scenario, checkpoint: float) -> float:
    """Return the mean seconds between failures of any node in use; InputError if no run could finish."""
    cluster, nodes = scenario.cluster, math.ceil(scenario.plan.gpus / scenario.cluster.gpus_per_node)
    mtbf = node_mtbf(cluster) / nodes
    if mtbf <= cluster.restart + checkpoint:
        raise InputError(
            f"cluster.node_mtbf = {TIME.short(node_mtbf(cluster), 3)} on {nodes:,} nodes means a failure every "
            f"{TIME.short(mtbf, 3)}, sooner than a restart and a checkpoint take: no run would finish"
        )
    return mtbf


def _simulated(
    prediction: Prediction, work: float, *, interval: float, mtbf: float, faults: FaultModel
) -> tuple[FloatArray, float]:
    """Return the seconds of simulated runs of *work* seconds, with checkpoints, and the failures expected in one."""
    generator = np.random.default_rng(faults.seed)
    bounds = prediction.interval.ranges["step_time"]
    draws = generator.standard_normal(_RUNS) / _NORMAL_90
    slower = math.log(bounds.high / prediction.step_time)
    faster = math.log(prediction.step_time / bounds.low)
    works = work * np.exp(np.where(draws > 0, slower, faster) * draws)
    failures = generator.poisson(works / mtbf)
    # work lost since the last checkpoint is uniform over the interval, so a sum of many is nearly normal
    lost = interval * (failures / 2 + np.sqrt(failures / 12) * generator.standard_normal(_RUNS))
    lost = np.clip(lost, 0, interval * failures)
    times = works + np.minimum(lost, works * failures) + prediction.scenario.cluster.restart * failures
    return times, work / mtbf
