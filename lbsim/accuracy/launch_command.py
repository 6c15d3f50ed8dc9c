"""Command line of the harness for a training option."""

from collections.abc import Iterator

from lbsim.accuracy.benchmark import BenchmarkRecipe
from lbsim.accuracy.noise_scale_law import MeasuredRecipe
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.training_option import TrainingOption

__all__ = ["harness_arguments", "harness_command"]

_TRUST = 0.001
"""Trust coefficient of LARS where the recipe gives none: MLPerf's, and the harness's default."""
_NOT_REPEATED = {"ranks", "communication", "device", "loss_scale", "seed"}
"""Options of a measured run that a new run does not take over."""


def harness_command(option: TrainingOption) -> str | None:
    """Return the command to run on each node; None for a benchmark, whose model and data the harness does not have.

    ``$NODE`` stands for the node's rank, ``$FIRST`` for the first host.
    """
    if isinstance(option.recipe, BenchmarkRecipe):
        return None
    per_node = min(option.gpus, option.prediction.scenario.cluster.gpus_per_node)
    nodes = -(-option.gpus // per_node)
    launcher = ["torchrun"]
    if nodes > 1:
        launcher += ["--nnodes", str(nodes), "--node-rank", "$NODE"]
        launcher += ["--master-addr", "$FIRST", "--master-port", "29500"]
    launcher += ["--nproc-per-node", str(per_node), "-m", "lbsim.harness"]
    return " ".join([*launcher, *harness_arguments(option)])


def harness_arguments(option: TrainingOption) -> list[str]:
    """Return the arguments of ``lbsim.harness`` for *option*."""
    recipe = option.recipe
    if isinstance(recipe, MeasuredRecipe):
        return ["train", *_measured_options(option, recipe)]
    return ["train", *_published_options(option, recipe)]


def _measured_options(option: TrainingOption, recipe: MeasuredRecipe) -> Iterator[str]:
    """Yield the options of the user's own run, except for the batch and what depends on it."""
    plan = option.prediction.scenario.plan
    changed = {
        "batch_per_gpu": plan.batch_per_gpu,
        "epochs": f"{option.epochs:g}",
        "rate": f"{recipe.peak_rate(option.batch):.6g}",
        "precision": plan.precision,
        "engine": _engine(option),
        "output": f"{recipe.name}-{option.batch}",
    }
    for name, value in (recipe.options | changed).items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            yield flag
        elif value is not None and value is not False and name not in _NOT_REPEATED:
            yield from (flag, f"{value:g}" if isinstance(value, float) else str(value))


def _published_options(option: TrainingOption, recipe: Recipe) -> Iterator[str]:
    """Yield the options of *recipe* at the batch and the epochs of *option*."""
    optimizer, plan = recipe.optimizer, option.prediction.scenario.plan
    rate, warm_up = recipe.peak_rate(option.batch), recipe.warm_up_for(option.batch)
    options: dict[str, object] = {
        "--model": recipe.model,
        "--data": "images",
        "--folder": "imagenet",
        "--batch-per-gpu": plan.batch_per_gpu,
        "--epochs": f"{option.epochs:g}",
        "--optimizer": optimizer.name,
        "--schedule": recipe.schedule,
        "--rate": None if rate is None else f"{rate:.6g}",
        "--warm-up": None if warm_up is None else f"{warm_up:g}",
        "--momentum": f"{optimizer.momentum:g}",
        "--weight-decay": None if optimizer.weight_decay is None else f"{optimizer.weight_decay:g}",
        "--trust": f"{optimizer.trust or _TRUST:g}" if optimizer.name == "lars" else None,
        "--precision": plan.precision,
        "--engine": _engine(option),
    }
    for name, value in options.items():
        if value is not None:
            yield from (name, str(value))
    if recipe.not_decayed == ():
        yield "--decay-vectors"


def _engine(option: TrainingOption) -> str:
    return "ddp" if option.gpus > 1 else "plain"
