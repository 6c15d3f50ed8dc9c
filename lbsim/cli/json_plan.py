"""JSON of a plan for a target accuracy, in SI units and percent."""

from dataclasses import asdict
from typing import Any

from lbsim.accuracy.benchmark import BenchmarkRecipe
from lbsim.accuracy.launch_command import harness_command
from lbsim.accuracy.noise_scale_law import MeasuredRecipe
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.training_option import TimeToAccuracy, TrainingOption
from lbsim.accuracy.training_run import node_mtbf
from lbsim.profiles.hardware import Cluster
from lbsim.version import __version__

__all__ = ["choices_json", "measured_recipe_json"]


def choices_json(choices: TimeToAccuracy) -> dict[str, Any]:
    """Return the options for all numbers of GPUs, the chosen one and the command that trains it."""
    return {
        "target": choices.request.target,
        "confidence": choices.request.confidence,
        "chosen_gpus": choices.chosen.gpus,
        "command": harness_command(choices.chosen),
        "most_useful_gpus": choices.gpus_of_highest_goodput,
        "benchmark": benchmark_json(choices.chosen.recipe),
        "from_runs": measured_recipe_json(choices.chosen.recipe),
        "choices": [_choice_json(choice) for choice in choices.options],
        "failures": _failures_json(choices.chosen.prediction.scenario.cluster),
        "refused": {str(gpus): why for gpus, why in choices.refused.items()},
        "lbsim": __version__,
    }


def _failures_json(cluster: Cluster) -> dict[str, Any]:
    return {
        "node_mtbf": node_mtbf(cluster),
        "node_mtbf_assumed": cluster.node_mtbf is None,
        "restart": cluster.restart,
        "checkpoint_bandwidth": cluster.checkpoint_bandwidth,
    }


def benchmark_json(recipe: Recipe) -> dict[str, Any] | None:
    """Return the benchmark whose published work to a target the plan uses; None for another recipe."""
    if not isinstance(recipe, BenchmarkRecipe):
        return None
    benchmark = recipe.benchmark
    return {"name": benchmark.name, "metric": benchmark.metric, "target": benchmark.target}


def measured_recipe_json(recipe: Recipe) -> dict[str, Any] | None:
    """Return what the user's training runs measured, in samples and epochs; None for a published recipe."""
    if not isinstance(recipe, MeasuredRecipe):
        return None
    return {
        "noise_scale": recipe.noise_scale,
        "critical_batch": recipe.critical_batch,
        "runs": [{"folder": row.id, "batch": row.batch, "epochs_to_target": row.epochs} for row in recipe.evidence],
    }


def _choice_json(choice: TrainingOption) -> dict[str, Any]:
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
