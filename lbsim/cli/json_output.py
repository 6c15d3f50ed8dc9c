"""JSON of predictions and other results, in SI units. Scripts, cases and reruns rely on the keys."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lbsim.version import __version__

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.analysis.explain import Explanation
    from lbsim.analysis.tune import Tuning
    from lbsim.calibration.calibration import Calibration
    from lbsim.communication.collective_time import Timing
    from lbsim.evaluation.residual import Residual
    from lbsim.evaluation.validate import Validation
    from lbsim.simulation.per_rank import RankRuns
    from lbsim.simulation.prediction import Prediction

__all__ = [
    "QUANTILES",
    "calibration_json",
    "explanation_json",
    "prediction_json",
    "ranks_json",
    "timing_json",
    "timings_json",
    "tuning_json",
    "validation_json",
]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Quantiles of step time, as shares of the steps."""


def prediction_json(prediction: "Prediction") -> dict[str, Any]:
    """Return *prediction* in SI units; its ``scenario`` is complete, with units, so that it can be rerun."""
    return {
        "throughput": prediction.throughput,
        "throughput_per_gpu": prediction.throughput_per_gpu,
        "step_time": prediction.step_time,
        "scaling_efficiency": prediction.scaling_efficiency,
        "scaling_efficiency_vs_node": prediction.scaling_efficiency_vs_node,
        "time_to_train": prediction.time_to_train,
        "breakdown": asdict(prediction.breakdown),
        "communication_time": prediction.communication_time,
        "interval": {"level": prediction.interval.level}
        | {quantity: asdict(bounds) for quantity, bounds in prediction.interval.ranges.items()},
        "memory": asdict(prediction.memory)
        | {"total": prediction.memory.total, "available": prediction.scenario.cluster.accelerator.memory},
        "calibration": prediction.calibration,
        "scenario": prediction.scenario.model_dump(mode="json"),
        "lbsim": __version__,
    }


def ranks_json(runs: "RankRuns") -> dict[str, Any]:
    """Return the time of every step in seconds, their distribution, and how often each rank was the slowest."""
    return {
        "steps": len(runs.step_times),
        "seed": runs.seed,
        "mean": runs.mean,
        "standard_deviation": runs.spread,
        "quantiles": {f"{share:g}": runs.quantile(share) for share in QUANTILES},
        "slowest": [{"gpu": rank, "steps": steps} for rank, steps in runs.most_often_slowest()],
        "step_times": list(runs.step_times),
    }


def explanation_json(explanation: "Explanation") -> dict[str, Any]:
    """Return the seconds of a step by cause, and the gain of each possible change."""
    return {
        "step_time": explanation.prediction.step_time,
        "scaling_efficiency": explanation.prediction.scaling_efficiency,
        "sentence": explanation.sentence,
        "causes": [asdict(cause) for cause in explanation.causes],
        "levers": [asdict(lever) for lever in explanation.levers],
        "scenario": explanation.prediction.scenario.model_dump(mode="json"),
        "lbsim": __version__,
    }


def tuning_json(tuning: "Tuning") -> dict[str, Any]:
    """Return the best plan found, its gain and its settings; ``scenario`` is the tuned scenario, complete."""
    return {
        "changes": tuning.changes,
        "throughput": tuning.after.throughput,
        "throughput_before": tuning.before.throughput,
        "gain": {"expected": tuning.gain, "low": tuning.gain_low, "high": tuning.gain_high},
        "plans_tried": tuning.tried,
        "settings": list(tuning.settings),
        "scenario": tuning.after.scenario.model_dump(mode="json"),
        "lbsim": __version__,
    }


def calibration_json(calibration: "Calibration") -> dict[str, Any]:
    """Return the calibration as its profile holds it: fitted values with units, covariance, errors and sources."""
    content = calibration.model_dump(mode="json", exclude_none=True)
    return content | {"untold": content["undetermined"]}  # the key of lbsim 0.1


def timing_json(timing: "Timing", done: Sequence[float] = ()) -> dict[str, Any]:
    """Return *timing* in bytes and seconds, phase by phase; *done* holds the finish time of each rank, if simulated."""
    return {
        "operation": timing.operation.name,
        "algorithm": timing.collective.algorithm,
        "gpus": timing.fabric.gpus,
        "message": timing.message,
        "time": timing.time,
        "algorithmic_bandwidth": timing.algorithmic_bandwidth,
        "bus_bandwidth": timing.bus_bandwidth,
        "phases": [
            {
                "name": phase.name,
                "steps": phase.steps,
                "message": phase.message,
                "links": list(phase.links),
                "time": timing.fabric.phase_time(phase),
            }
            for phase in timing.collective.phases
        ],
        **({"done": list(done)} if done else {}),
        "lbsim": __version__,
    }


def timings_json(timings: "Iterable[Timing]") -> dict[str, Any]:
    """Return the timings of a sweep over message sizes."""
    return {"sweep": [timing_json(timing) for timing in timings], "lbsim": __version__}


def validation_json(validation: "Validation") -> dict[str, Any]:
    """Return every case, and the accuracy over all, by role, by system and by class."""
    return {
        "cases": [_result_json(result) for result in validation.results],
        "summary": asdict(validation.accuracy)
        | {
            f"by_{key}": {name: asdict(accuracy) for name, accuracy in validation.by(key).items()}
            for key in ("role", "system", "class")
        },
        "lbsim": __version__,
    }


def _result_json(result: "Residual") -> dict[str, Any]:
    case = result.observation.case
    return {
        "system": case.system,
        "source": case.source,
        "id": case.id,
        "quantity": case.quantity,
        "class": case.class_,
        "observed": result.observed,
        "predicted": result.predicted,
        "low": result.low,
        "high": result.high,
        "relative_error": result.relative_error,
        "role": case.role,
        "fitted_on_this_system": case.fitted_on_this_system,
        "anchored": result.observation.anchored,
    }
