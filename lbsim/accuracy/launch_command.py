"""A planned training run as the harness's own command line."""

from collections.abc import Iterator

from lbsim.accuracy.choice import Choice
from lbsim.accuracy.noise_scale_law import MeasuredRecipe

_TRUST = 0.001
"""LARS's ρ where the recipe does not say: MLPerf's, and the harness's own."""


def harness_command(choice: Choice) -> str:
    """Return what to run on each node to train as *choice* says; a node's own number stands in ``$NODE``."""
    scenario = choice.prediction.scenario
    per_node = min(choice.gpus, scenario.cluster.gpus_per_node)
    nodes = -(-choice.gpus // per_node)
    launcher = ["torchrun"]
    if nodes > 1:
        launcher += [
            "--nnodes",
            str(nodes),
            "--node-rank",
            "$NODE",
            "--master-addr",
            "$FIRST",
            "--master-port",
            "29500",
        ]
    launcher += ["--nproc-per-node", str(per_node), "-m", "lbsim.harness"]
    return " ".join([*launcher, *harness_arguments(choice)])


def harness_arguments(choice: Choice) -> list[str]:
    """Return the arguments of ``lbsim.harness`` for *choice*."""
    return ["train", *_options(choice)]


def _own_options(choice: Choice, recipe: MeasuredRecipe) -> Iterator[str]:
    """Yield the options of one's own run, but for the batch and what follows from it."""
    plan = choice.prediction.scenario.plan
    left_out = {"ranks", "communication", "device", "loss_scale", "seed"}
    changed = {
        "batch_per_gpu": plan.batch_per_gpu,
        "epochs": f"{choice.epochs:g}",
        "rate": f"{recipe.peak_rate(choice.batch):.6g}",
        "precision": plan.precision,
        "engine": "ddp" if choice.gpus > 1 else "plain",
        "output": f"{recipe.name}-{choice.batch}",
    }
    for name, value in (recipe.options | changed).items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            yield option
        elif value is not None and value is not False and name not in left_out:
            yield from (option, f"{value:g}" if isinstance(value, float) else str(value))


def _options(choice: Choice) -> Iterator[str]:
    scenario, recipe, batch = choice.prediction.scenario, choice.recipe, choice.batch
    if isinstance(recipe, MeasuredRecipe):
        yield from _own_options(choice, recipe)
        return
    optimizer = recipe.optimizer
    rate, warm_up = recipe.peak_rate(batch), recipe.warm_up_for(batch)
    options: dict[str, object] = {
        "--model": recipe.model,
        "--data": "images",
        "--folder": "imagenet",
        "--batch-per-gpu": scenario.plan.batch_per_gpu,
        "--epochs": f"{choice.epochs:g}",
        "--optimizer": optimizer.name,
        "--schedule": recipe.schedule,
        "--rate": None if rate is None else f"{rate:.6g}",
        "--warm-up": None if warm_up is None else f"{warm_up:g}",
        "--momentum": f"{optimizer.momentum:g}",
        "--weight-decay": None if optimizer.weight_decay is None else f"{optimizer.weight_decay:g}",
        "--trust": f"{optimizer.trust or _TRUST:g}" if optimizer.name == "lars" else None,
        "--precision": scenario.plan.precision,
        "--engine": "ddp" if choice.gpus > 1 else "plain",
    }
    for name, value in options.items():
        if value is not None:
            yield from (name, str(value))
    if recipe.not_decayed == ():
        yield "--decay-vectors"
