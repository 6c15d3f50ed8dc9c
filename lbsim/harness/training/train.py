"""Training loop: steps, validation after each epoch, checkpoints, and the end.

Every random number follows from the seed, the step and the rank, so there is no generator state to save: a resumed run
draws the numbers of an uninterrupted one.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from lbsim.atomic_write import write_atomically
from lbsim.errors import InputError
from lbsim.harness.communication.process_group import ProcessGroup, on_all_ranks
from lbsim.harness.training import resumption
from lbsim.harness.training.components import Components, build
from lbsim.harness.training.epoch_averages import EpochAverages
from lbsim.harness.training.finiteness import NotFiniteError, first_not_finite
from lbsim.harness.training.gradient_noise import summary
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.output_lock import OutputLock
from lbsim.harness.training.run_log import RunLog
from lbsim.harness.training.step import TrainingStep
from lbsim.harness.training.validation import validate
from lbsim.harness.training.watchdog import StepPhase, Watchdog

__all__ = ["TrainingResult", "train"]

_Report = Callable[[str], None]
_Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of a run."""

    steps: int
    """Steps done, those before a resumption included."""
    stopped: bool
    """Whether the run was stopped before its last step."""
    validation_accuracy: float | None
    """Share of correct predictions in the last validation; None if there was none."""


def train(
    options: TrainOptions,
    group: ProcessGroup,
    report: _Report,
    stop: Callable[[], bool] = lambda: False,
    progress: _Progress = lambda *_: None,
) -> TrainingResult:
    """Train with *options* from the newest checkpoint, if there is one, until the last step or until *stop*.

    All ranks of *group* call this together. *report* receives messages on rank 0, and the watchdog's on each rank.
    *stop* is called before each step; when it returns True on any rank, all stop after that step with a checkpoint.
    *progress* receives the steps done, the steps of the run and the loss. Raises InputError on all ranks for options
    that are invalid or differ between ranks, for an output folder into which another run writes, and for a loss,
    gradient or weight that is not finite.
    """
    group.require_same(options.model_dump(mode="json"))
    parts = build(options, group)
    lock = on_all_ranks(lambda: OutputLock(options.output) if group.first else None)
    with lock or nullcontext():
        run = _Run(parts, report)
        with Watchdog(group, options.patience, report) as watchdog:
            try:
                return run.loop(watchdog, stop, progress)
            finally:
                run.close()


class _Run:
    """State of a run between its steps."""

    def __init__(self, parts: Components, report: _Report) -> None:
        self._parts = parts
        self._report: _Report = report if parts.group.first else lambda _: None
        self._averages = EpochAverages()
        self._step = resumption.restore(parts, self._averages, self._report)
        self._log = on_all_ranks(lambda: _open_log(parts, self._step))
        self._accuracy: float | None = None

    def loop(self, watchdog: Watchdog, stop: Callable[[], bool], progress: _Progress) -> TrainingResult:
        """Run the steps that are left."""
        parts, last = self._parts, self._parts.last_step
        training_step = TrainingStep(parts, self._log, watchdog, self._report)
        while self._step < last:
            try:
                result = training_step.run(self._step, stop=stop())
            except NotFiniteError:
                self._save()  # the step has not changed the weights
                raise
            self._averages.add(result.loss, result.accuracy)
            self._step += 1
            at_end = self._step == last
            if self._step % parts.steps_per_epoch == 0 or at_end:
                self._end_epoch(watchdog)
            # a plan by measured times is saved before it is used, so that no step is repeated with another plan
            if at_end or result.stop or result.replanned or self._step % parts.options.checkpoint_every == 0:
                self._save()
            progress(self._step, last, f"loss {result.loss:.4f}")
            if result.stop and not at_end:
                self._report(f"stopped after step {self._step} of {last}; the same command resumes the run")
                return TrainingResult(self._step, stopped=True, validation_accuracy=self._accuracy)
        if parts.noise_scale is not None and self._log is not None:
            self._report(summary(parts.options.output / "noise_scale.csv"))
        return TrainingResult(self._step, stopped=False, validation_accuracy=self._accuracy)

    def close(self) -> None:
        """Close the engine and the log."""
        self._parts.engine.close()
        if self._log is not None:
            self._log.close()

    def _save(self) -> None:
        """Write a checkpoint; NotFiniteError, on all ranks, instead of one with weights that are not finite."""
        if not self._parts.options.allow_nan:
            name = first_not_finite(self._parts.masters.named)
            if name is not None:
                raise NotFiniteError(
                    f"step {self._step}: the weights of '{name}' are not finite; earlier checkpoints are kept; write a "
                    "smaller --rate, or --allow-nan to go on"
                )
        resumption.save(self._parts, self._averages, self._step)

    def _end_epoch(self, watchdog: Watchdog) -> None:
        watchdog.progress(self._step, StepPhase.READING, "validating")
        with watchdog.communicating():
            loss, self._accuracy = validate(self._parts, watchdog, self._step)
        training_loss, training_accuracy, seconds = self._averages.finish()
        epoch = self._step / self._parts.steps_per_epoch
        if self._log is not None:
            row = (self._step, epoch, training_loss, training_accuracy, loss, self._accuracy, seconds)
            self._log.add("epochs", row)
        self._report(f"epoch {epoch:g}: loss {loss:.4f}, accuracy {self._accuracy:.2%} (validation)")


def _open_log(parts: Components, step: int) -> RunLog | None:
    """Return the log of the run after *step*, with ``run.json`` beside it, on rank 0."""
    if not parts.group.first:
        return None
    output = parts.options.output
    run = {"batch": parts.batch, "training_samples": len(parts.data.training), "options": parts.recipe}
    try:
        log = RunLog(output, step, tensorboard=parts.options.tensorboard)
        write_atomically(json.dumps(run, indent=1) + "\n", output / "run.json")
        return log  # noqa: TRY300  # reading the tables may fail too
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}") from None
