"""Command line of the harness for a training option."""

from collections.abc import Iterator

from lbsim.accuracy.benchmark import BenchmarkRecipe
from lbsim.accuracy.noise_scale_law import MeasuredRecipe
from lbsim.accuracy.recipe import Recipe
from lbsim.accuracy.training_option import TrainingOption
from lbsim.printed_text import command_line
from lbsim.printed_text import option as option_words

__all__ = ["harness_arguments", "harness_command"]

_TRUST = 0.001
"""Trust coefficient of LARS where the recipe gives none: MLPerf's, and the harness's default."""
_RENDEZVOUS = "--node-rank $NODE --master-addr $FIRST --master-port 29500"
"""Options of torchrun on several nodes, with the shell variables that the user sets on each."""
_NOT_REPEATED = {"ranks", "communication", "device", "loss_scale", "seed"}
"""Options of a measured run that a new run does not take over."""


def harness_command(option: TrainingOption) -> str | None:
    """Return the command to run on each node, in one line that a shell splits into the same words.

    None for a benchmark, whose model and data the harness does not have. The shell variables ``$NODE``, the node's
    rank, and ``$FIRST``, the first host, are the only words that it expands.
    """
    if isinstance(option.recipe, BenchmarkRecipe):
        return None
    per_node = min(option.gpus, option.prediction.scenario.cluster.gpus_per_node)
    nodes = -(-option.gpus // per_node)
    launcher = f"torchrun --nnodes {nodes} {_RENDEZVOUS}" if nodes > 1 else "torchrun"
    module = ["--nproc-per-node", str(per_node), "-m", "lbsim.harness"]
    return f"{launcher} {command_line([*module, *harness_arguments(option)])}"


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
            yield from option_words(flag, f"{value:g}" if isinstance(value, float) else str(value))


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
            yield from option_words(name, str(value))
    if recipe.not_decayed == ():
        yield "--decay-vectors"


def _engine(option: TrainingOption) -> str:
    return "ddp" if option.gpus > 1 else "plain"
