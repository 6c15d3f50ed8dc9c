"""A plan for a target accuracy as JSON, in SI units and percent."""

from dataclasses import asdict
from typing import Any

from lbsim.accuracy.launch_command import harness_command
from lbsim.accuracy.noise_scale_law import MeasuredRecipe
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.training_option import TimeToAccuracy, TrainingOption
from lbsim.accuracy.training_run import node_mtbf
from lbsim.profiles.hardware import Cluster
from lbsim.version import __version__


def of_choices(choices: TimeToAccuracy) -> dict[str, Any]:
    """Return every choice, which one is chosen, and its command."""
    return {
        "target": choices.request.target,
        "confidence": choices.request.confidence,
        "chosen_gpus": choices.chosen.gpus,
        "command": harness_command(choices.chosen),
        "most_useful_gpus": choices.gpus_of_highest_goodput,
        "from_runs": from_runs(choices.chosen.recipe),
        "choices": [_of_choice(choice) for choice in choices.options],
        "failures": _of_failures(choices.chosen.prediction.scenario.cluster),
        "refused": {str(gpus): why for gpus, why in choices.refused.items()},
        "lbsim": __version__,
    }


def _of_failures(cluster: Cluster) -> dict[str, Any]:
    return {
        "node_mtbf": node_mtbf(cluster),
        "node_mtbf_assumed": cluster.node_mtbf is None,
        "restart": cluster.restart,
        "checkpoint_bandwidth": cluster.checkpoint_bandwidth,
    }


def from_runs(recipe: Recipe) -> dict[str, Any] | None:
    """Return what stands on runs of one's own, if anything does: in samples, epochs, and percent."""
    if not isinstance(recipe, MeasuredRecipe):
        return None
    return {
        "noise_scale": recipe.noise_scale,
        "critical_batch": recipe.critical_batch,
        "runs": [{"folder": row.id, "batch": row.batch, "epochs_to_target": row.epochs} for row in recipe.evidence],
    }


def _of_choice(choice: TrainingOption) -> dict[str, Any]:
    plan = choice.prediction.scenario.plan
    return {
        "gpus": choice.gpus,
        "batch": choice.batch,
        "batch_per_gpu": plan.batch_per_gpu,
        "recipe": choice.recipe.name,
        "epochs": choice.epochs,
        "epochs_to_target": None if choice.epochs_to_target is None else asdict(choice.epochs_to_target),
        "top1": asdict(choice.top1),
        "chance_to_reach": choice.probability,
        "time": asdict(choice.run.time),
        "time_without_faults": choice.run.fault_free_time,
        "checkpoint_time": choice.run.checkpoint_time,
        "expected_failures": choice.run.expected_failures,
        "mean_time_with_reruns": choice.run.mean_time_with_reruns,
        "time_quantiles_with_reruns": choice.run.quantiles,
        "gpu_hours": choice.gpu_hours,
        "cost": choice.cost,
        "throughput": choice.prediction.throughput,
        "statistical_efficiency": choice.statistical_efficiency,
        "goodput": choice.goodput,
        "on_front": choice.on_front,
        "beyond_evidence": choice.beyond_evidence,
    }
