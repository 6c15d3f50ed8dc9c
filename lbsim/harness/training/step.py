"""Training step: forward, backward, all-reduce and update of one batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lbsim.harness.communication.process_group import all_gather
from lbsim.harness.training import data, optimizer, precision
from lbsim.harness.training.components import Components
from lbsim.harness.training.finiteness import NotFiniteError, first_not_finite, first_output_not_finite
from lbsim.harness.training.gradient_noise import NoiseScaleEstimator
from lbsim.harness.training.layer_statistics import LayerStatistics
from lbsim.harness.training.run_log import RunLog
from lbsim.harness.training.watchdog import StepPhase, Watchdog

__all__ = ["TrainingStep", "TrainingStepResult", "to_device"]


@dataclass(frozen=True)
class TrainingStepResult:
    """Outcome of a step, the same on all ranks."""

    loss: float
    """Mean training loss over all ranks."""
    accuracy: float
    """Share of the batch that is classified correctly."""
    stop: bool
    """Whether a rank was asked to stop."""
    replanned: bool
    """Whether the engine has changed how later gradients travel."""


class TrainingStep:
    """Runs the steps of a training run; *log* is None on all ranks but the first."""

    def __init__(
        self, components: Components, log: RunLog | None, watchdog: Watchdog, report: Callable[[str], None]
    ) -> None:
        self._parts, self._log, self._watchdog, self._report = components, log, watchdog, report
        self._epoch, self._permutation = -1, torch.empty(0)

    def run(self, step: int, *, stop: bool) -> TrainingStepResult:
        """Train on the batch of *step*, counted from 0; *stop* is whether this rank was asked to stop.

        Raises NotFiniteError on all ranks, before the update, for a loss that is not finite and for a gradient that
        overflows at a loss scale of 1, unless the options allow it.
        """
        parts, masters, options, watchdog = self._parts, self._parts.masters, self._parts.options, self._watchdog
        epoch = step / parts.steps_per_epoch
        rate = optimizer.set_rate(parts.optimizer, options, epoch, parts.batch)
        watchdog.progress(step, StepPhase.READING, "reading data")
        samples, labels = self._batch(step)
        watched = parts.group.first and bool(options.watch_every) and step % options.watch_every == 0
        noise_scale = parts.noise_scale if parts.noise_scale and step % options.noise_scale_every == 0 else None
        if parts.activation is not None:
            parts.activation.wanted = watched
        watchdog.progress(step, StepPhase.COMPUTING, "computing")
        scores, loss = self._forward_backward(samples, labels, noise_scale)
        watchdog.progress(step, StepPhase.COMMUNICATING, "communicating")
        with watchdog.communicating():
            replanned = parts.engine.finish_step()
            if noise_scale is not None:
                noise_scale.reduce()
            mean, accuracy, stops = self._over_ranks(loss.detach(), scores, labels, stop=stop)
            self._require_finite(step, mean, samples)
        watchdog.progress(step, StepPhase.UPDATING, "updating")
        updated = self._update(step, noise_scale, watched=watched)
        if self._log is not None:
            scale = 1.0 if masters.scale is None else masters.scale.scale
            self._log.add("steps", (step + 1, epoch, rate, mean, accuracy, scale, int(not updated)))
        return TrainingStepResult(mean, accuracy, stops, replanned)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this rank's samples and labels of *step*, and seed torch's generator for dropout."""
        parts, seed = self._parts, self._parts.options.seed
        rank, ranks = parts.group.rank, parts.group.size
        epoch, within = divmod(step, parts.steps_per_epoch)
        if self._epoch != epoch:
            self._epoch, self._permutation = epoch, data.permutation(len(parts.data.training), seed, epoch)
        indices = data.rank_share(self._permutation, within, parts.batch, rank, ranks)
        torch.manual_seed((seed * 1_000_003 + step) * ranks + rank)
        return to_device(parts, *parts.loader.batch(parts.data.training, indices, seed=seed * 1_000_003 + epoch))

    def _forward_backward(
        self, samples: Tensor, labels: Tensor, noise_scale: NoiseScaleEstimator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the scores and the loss; the gradients are left in the parameters."""
        parts, masters = self._parts, self._parts.masters
        masters.zero_gradients()
        parts.engine.begin_step()
        scores = parts.forward(samples).float()
        loss = cross_entropy(scores, labels)
        if noise_scale is None:
            masters.scale_loss(loss).backward()
        else:
            scale = masters.scale.scale if masters.scale else 1.0
            noise_scale.backward(masters.scale_loss(loss), scores, labels, scale)
        return scores, loss

    def _update(self, step: int, noise_scale: NoiseScaleEstimator | None, *, watched: bool) -> bool:
        """Update the weights unless a gradient overflowed; return whether they were updated."""
        parts, masters, options, log = self._parts, self._parts.masters, self._parts.options, self._log
        before = masters.scale.scale if masters.scale else 1.0
        if not masters.unscale_gradients():
            scale = masters.scale.scale if masters.scale else 1.0
            if before <= 1 and not options.allow_nan:
                name = first_not_finite((name, master.grad) for name, master in masters.named)
                raise NotFiniteError(
                    f"step {step + 1}: gradients overflow at a loss scale of 1, first in '{name}'; write a smaller "
                    "--rate, --precision bf16 or fp32, or --allow-nan to go on"
                )
            self._report(f"step {step + 1} skipped: a gradient overflowed; loss scale now {scale:g}")
            return False
        if noise_scale is not None and log is not None:
            row = noise_scale.row([master.grad for _, master in masters.named if master.grad is not None])
            if row is not None:
                log.add("noise_scale", (step + 1, *row))
        layers = LayerStatistics(masters.named, options.trust, options.weight_decay) if watched else None
        parts.optimizer.step()
        masters.copy_to_model()
        if layers is not None and log is not None:
            for name, *values in layers.rows():
                log.add("layers", (step + 1, name, *values))
            if parts.activation is not None:
                log.add("activations", (step + 1, options.watch_activation, *parts.activation.distribution()))
        return True

    def _over_ranks(self, loss: Tensor, scores: Tensor, labels: Tensor, *, stop: bool) -> tuple[float, float, bool]:
        """Return mean loss and accuracy over all ranks, and whether any rank was asked to stop."""
        parts = self._parts
        correct = (scores.detach().argmax(1) == labels).double().mean()
        flags = correct.new_tensor([float(stop), parts.loader.failed])
        sums = torch.cat([torch.stack([loss.double(), correct]), flags])
        mean, accuracy, stops, failures = parts.group.sum(sums).tolist()
        parts.loader.raise_failures(failures)
        return mean / parts.group.size, accuracy / parts.group.size, stops > 0

    def _require_finite(self, step: int, mean: float, samples: Tensor) -> None:
        """Raise NotFiniteError unless *mean*, the loss over all ranks, is finite."""
        if math.isfinite(mean) or self._parts.options.allow_nan:
            return
        layers = all_gather(first_output_not_finite(self._parts.model, samples))
        found = [f"'{layer}' on rank {rank}" for rank, layer in enumerate(layers) if layer is not None]
        first = f"the first output that is not finite is that of {found[0]}" if found else "all outputs are finite"
        raise NotFiniteError(
            f"step {step + 1}: the loss is {mean}; {first}; write a smaller --rate, or --allow-nan to go on"
        )


def to_device(parts: Components, samples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return *samples* and *labels* on the rank's device, in the model's precision and memory format."""
    device = parts.group.device
    samples = precision.cast_inputs(parts.masters.dtype, samples.to(device, non_blocking=True))
    if samples.is_cuda and samples.dim() == 4:
        samples = samples.contiguous(memory_format=torch.channels_last)
    return samples, labels.to(device, non_blocking=True)
