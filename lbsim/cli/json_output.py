"""What is answered, as JSON: the keys that scripts, cases and later runs rely on."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lbsim.version import __version__

if TYPE_CHECKING:
    # for their names alone; some are imported late, for start-up time
    from lbsim.analysis.explain import Explanation
    from lbsim.analysis.tune import Tuning
    from lbsim.calibration.calibration import Calibration
    from lbsim.communication.collective_time import Timing
    from lbsim.evaluation.residual import Residual
    from lbsim.evaluation.validate import Accuracy, Validation
    from lbsim.simulation.per_rank import RankRuns
    from lbsim.simulation.prediction import Prediction

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Shares of the steps of which the longest is told."""


def of_prediction(prediction: "Prediction") -> dict[str, Any]:
    """Return *prediction* in SI units; its ``scenario`` is whole, with units, so that it can be rerun."""
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


def of_ranks(runs: "RankRuns") -> dict[str, Any]:
    """Return the distribution of step time in seconds, every step of it, and who was slowest in how many steps."""
    return {
        "steps": len(runs.step_times),
        "seed": runs.seed,
        "mean": runs.mean,
        "standard_deviation": runs.spread,
        "quantiles": {f"{share:g}": runs.quantile(share) for share in QUANTILES},
        "slowest": [{"gpu": rank, "steps": steps} for rank, steps in runs.most_often_slowest()],
        "step_times": list(runs.step_times),
    }


def of_explanation(explanation: "Explanation") -> dict[str, Any]:
    """Return where the step goes in seconds, in the order of the causes, and what each lever is worth."""
    return {
        "step_time": explanation.prediction.step_time,
        "scaling_efficiency": explanation.prediction.scaling_efficiency,
        "sentence": explanation.sentence,
        "causes": [asdict(cause) for cause in explanation.causes],
        "levers": [asdict(lever) for lever in explanation.levers],
        "scenario": explanation.prediction.scenario.model_dump(mode="json"),
        "lbsim": __version__,
    }


def of_tuning(tuning: "Tuning") -> dict[str, Any]:
    """Return the best plan found, what it gains and what to paste; ``scenario`` is the tuned one, whole."""
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


def of_calibration(calibration: "Calibration") -> dict[str, Any]:
    """Return what was fitted, as in the profile that holds it: values with units, covariance, errors, sources."""
    content = calibration.model_dump(mode="json", exclude_none=True)
    return content | {"untold": content["undetermined"]}  # the key of lbsim 0.1


def of_timing(timing: "Timing", done: Sequence[float] = ()) -> dict[str, Any]:
    """Return *timing* in bytes and seconds, phase by phase, and when each rank is *done* if that was asked."""
    return {
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


def of_sweep(timings: "Iterable[Timing]") -> dict[str, Any]:
    """Return each timing of a sweep over sizes."""
    return {"sweep": [of_timing(timing) for timing in timings], "lbsim": __version__}


def of_validation(validation: "Validation") -> dict[str, Any]:
    """Return each case and the accuracy over all, by role, by system and by class."""
    return {
        "cases": [_of_result(result) for result in validation.results],
        "summary": _of_accuracy(validation.accuracy)
        | {
            f"by_{key}": {name: _of_accuracy(accuracy) for name, accuracy in validation.by(key).items()}
            for key in ("role", "system", "class")
        },
        "lbsim": __version__,
    }


def _of_result(result: "Residual") -> dict[str, Any]:
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


def _of_accuracy(accuracy: "Accuracy") -> dict[str, Any]:
    return asdict(accuracy)
