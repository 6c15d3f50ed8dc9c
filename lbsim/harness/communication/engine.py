"""Engine protocol: what averages the gradients over ranks in each training step."""

from typing import Any, Protocol

from lbsim.harness.communication.step_recorder import StepRecorder

__all__ = ["Engine"]


class Engine(Protocol):
    """Replaces every gradient by its mean over all ranks, between `begin_step` and the end of `finish_step`."""

    note: str
    """Property of the engine that a reader of its measurements must know; usually empty."""
    recorder: StepRecorder | None
    """Recorder of each step's timeline; None to record nothing."""

    def begin_step(self) -> None:
        """Start a step: the next backward pass computes the gradients to average."""
        ...

    def finish_step(self) -> bool:
        """Return when every gradient is the mean over ranks: on a GPU, in the order of the current stream.

        True if this step has changed how the gradients of later steps travel, so that a checkpoint is due.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, so that a resumed run sums in the same order."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint's *state*."""
        ...

    def close(self) -> None:
        """Remove the hooks and stop the threads."""
        ...
