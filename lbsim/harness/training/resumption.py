"""Resumption of a training run: its state in a checkpoint, and back."""

from collections.abc import Callable

from lbsim.errors import InputError
from lbsim.harness.communication.process_group import broadcast, on_all_ranks
from lbsim.harness.training import checkpoint
from lbsim.harness.training.checkpoint_schema import require_valid
from lbsim.harness.training.components import Components
from lbsim.harness.training.epoch_averages import EpochAverages

__all__ = ["restore", "save"]


def save(parts: Components, averages: EpochAverages, step: int) -> None:
    """Write the state after *step* steps as a checkpoint, on rank 0."""
    if parts.group.first:
        state = {
            "recipe": parts.recipe,
            "step": step,
            "model": parts.model.state_dict(),
            "masters": parts.masters.state(),
            "optimizer": parts.optimizer.state_dict(),
            "engine": parts.engine.state(),
            "epoch": averages.state(),
            "noise_scale": None if parts.noise_scale is None else parts.noise_scale.averages.state(),
        }
        checkpoint.save(parts.options.output, step, state)


def restore(parts: Components, averages: EpochAverages, report: Callable[[str], None]) -> int:
    """Restore the newest checkpoint of the output folder, if there is one; return the number of steps done.

    All ranks call this together. Raises InputError for a checkpoint of a run with other options.
    """
    state = on_all_ranks(lambda: _newest(parts, report) if parts.group.first else None)
    state = broadcast(state)
    if state is None:
        return 0
    parts.model.load_state_dict(state["model"])
    parts.masters.restore(state["masters"])
    parts.optimizer.load_state_dict(state["optimizer"])
    if parts.noise_scale is not None and state.get("noise_scale") is not None:
        parts.noise_scale.averages.restore(state["noise_scale"])
    parts.engine.restore(state["engine"])
    averages.restore(state["epoch"])
    report(f"resuming after step {state['step']}")
    return int(state["step"])


def _newest(parts: Components, report: Callable[[str], None]) -> checkpoint.State | None:
    folder = parts.options.output

    def check(state: checkpoint.State, step: int) -> None:
        if not isinstance(state.get("recipe"), dict):
            raise InputError("it has no options of a run")
        # a checkpoint of another run or of an older lbsim is an error below, not a reason to try the one before
        if "engine" in state and not _differing(parts, state):
            require_valid(state, step, parts)

    state = checkpoint.load_newest(folder, report, check)
    if state is None:
        return None
    if "engine" not in state:
        raise InputError(f"{folder}: its checkpoint was written by an older lbsim; give another --output")
    for field in _differing(parts, state):
        raise InputError(
            f"{folder}: its checkpoint has {field} = {state['recipe'].get(field)!r}, not {parts.recipe[field]!r}; "
            "give another --output, or the same options"
        )
    return state


def _differing(parts: Components, state: checkpoint.State) -> list[str]:
    """Return the options of the checkpoint's run that are not those of this run."""
    return [field for field, value in parts.recipe.items() if state["recipe"].get(field) != value]
