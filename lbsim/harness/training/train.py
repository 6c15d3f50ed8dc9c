"""The training itself, to be read from top to bottom.

Every random choice follows from the seed, the step and the rank, so there is no random state to save: a run that goes
on from a checkpoint draws what an uninterrupted one would.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy

from lbsim.errors import InputError
from lbsim.harness import models
from lbsim.harness.communication.engines import attach, options_of
from lbsim.harness.communication.process_group import Ranks, from_first, together
from lbsim.harness.training import batch_norm, checkpoint, optimizer, precision
from lbsim.harness.training import data as data_sets
from lbsim.harness.training.batch_loader import Reader
from lbsim.harness.training.data import Data
from lbsim.harness.training.gradient_noise import NoiseScale, summary
from lbsim.harness.training.layer_statistics import Activation, Layers
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.precision import Masters
from lbsim.harness.training.run_log import Journal
from lbsim.harness.training.watchdog import Presence

Tell = Callable[[str], None]
_READING, _COMPUTING, _COMMUNICATING, _UPDATING = range(4)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    steps: int
    stopped: bool
    """Whether it was asked to stop before the end."""
    validation_accuracy: float | None


def train(
    options: TrainOptions,
    ranks: Ranks,
    tell: Tell,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Outcome:
    """Train as *options* say, from the newest checkpoint if there is one, until done or until any rank's *stop*."""
    ranks.require_same(options.model_dump(mode="json"))
    run = _Run(options, ranks, tell)
    with Presence(ranks, options.patience, tell) as presence:
        try:
            return run.steps_to_the_end(presence, stop, progress)
        finally:
            run.close()


class _Run:
    """What a step needs and changes."""

    def __init__(self, options: TrainOptions, ranks: Ranks, tell: Tell) -> None:
        self.options, self.ranks = options, ranks
        self.tell = tell if ranks.first else lambda _: None
        self.batch = options.batch_per_gpu * ranks.size
        self.data, self.model, self.activation = together(self._prepare)
        self.reader = Reader(self.data.shape)
        ranks.require_same({"data": str(self.data)}, "give every rank the same files")
        self._same_weights()
        self.steps_per_epoch = len(self.data.training) // self.batch
        planned = max(1, round(options.epochs * self.steps_per_epoch))
        self.last_step = min(planned, options.steps or planned)
        self.masters = Masters(self.model, options.precision, options.loss_scale)
        self.optimizer = optimizer.build(options, self.masters.named)
        communication = together(lambda: options_of(options.engine, options.communication))
        self.forward, self.engine = attach(options.engine, self.model, communication, ranks.size)
        self.noise = together(self._noise_scale)
        self.replanned = False
        self.epoch_sums = torch.zeros(2, dtype=torch.float64)
        self.epoch_steps, self.epoch_start = 0, time.monotonic()
        self.step = self._restored()
        self.journal = together(self._journal)
        self.accuracy: float | None = None
        self._order = (-1, torch.empty(0))

    def steps_to_the_end(
        self, presence: Presence, stop: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Outcome:
        """Do the steps that are left."""
        while self.step < self.last_step:
            loss, stopping = self._one_step(presence, asked_to_stop=stop())
            self.step += 1
            at_end = self.step == self.last_step
            if self.step % self.steps_per_epoch == 0 or at_end:
                self._end_epoch(presence)
            # a plan by measured times is saved before anything travels by it: no step is ever done again by another
            if at_end or stopping or self.replanned or self.step % self.options.checkpoint_every == 0:
                self._save()
            progress(self.step, self.last_step, f"loss {loss:.4f}")
            if stopping and not at_end:
                self.tell(f"stopped after step {self.step} of {self.last_step}; the same command goes on from there")
                return Outcome(self.step, stopped=True, validation_accuracy=self.accuracy)
        if self.noise is not None and self.journal is not None:
            self.tell(summary(self.options.output / "noise_scale.csv"))
        return Outcome(self.step, stopped=False, validation_accuracy=self.accuracy)

    def close(self) -> None:
        """Let go of what is held."""
        self.engine.close()
        if self.journal is not None:
            self.journal.close()

    def _prepare(self) -> tuple[Data, nn.Module, Activation | None]:
        """Return the data and the model, or raise InputError for what does not fit together."""
        options, device = self.options, self.ranks.device
        precision.require(options.precision, device)
        torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
        torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")
        data = data_sets.named(options.data, models.input_shape(options.model), options.folder)
        if len(data.training) < self.batch:
            raise InputError(
                f"--batch-per-gpu {options.batch_per_gpu}: a batch of {self.batch} over {self.ranks.size} ranks, but "
                f"{options.data} has {len(data.training)} samples; at most {len(data.training) // self.ranks.size}"
            )
        torch.manual_seed(options.seed)
        model = models.named(options.model, data.shape, data.classes).to(device)
        models.require_input(model, data.shape, data.classes, options.batch_per_gpu)
        if device.type == "cuda" and len(data.shape) == 3:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch_norm.keep_last_batch(model)
        activation = None if options.watch_activation is None else Activation(model, options.watch_activation)
        return data, model.train(), activation

    def _same_weights(self) -> None:
        """Start every rank from rank 0's weights."""
        if self.ranks.size > 1:
            for tensor in self.model.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def _one_step(self, presence: Presence, *, asked_to_stop: bool) -> tuple[float, bool]:
        """Do forward, backward, all-reduce and update; return the mean loss and whether a rank was asked to stop."""
        options, masters, step = self.options, self.masters, self.step
        epoch = step / self.steps_per_epoch
        rate = optimizer.set_rate(self.optimizer, options, epoch, self.batch)
        presence.moved(step, _READING, "reading data")
        samples, labels = self._batch(step)
        watched = self.ranks.first and bool(options.watch_every) and step % options.watch_every == 0
        noise = self.noise if self.noise is not None and step % options.noise_scale_every == 0 else None
        if self.activation is not None:
            self.activation.wanted = watched
        presence.moved(step, _COMPUTING, "computing")
        masters.forget_gradients()
        self.engine.begin_step()
        scores = self.forward(samples).float()
        loss = cross_entropy(scores, labels)
        if noise is None:
            masters.scaled(loss).backward()
        else:
            noise.backward(masters.scaled(loss), scores, labels, masters.scale.scale if masters.scale else 1.0)
        presence.moved(step, _COMMUNICATING, "communicating")
        with _blaming(presence):
            self.replanned = self.engine.finish_step()
            if noise is not None:
                noise.share()
        presence.moved(step, _UPDATING, "updating")
        taken = self._update(noise, watched=watched)
        with _blaming(presence):
            mean, accuracy, stops = self._over_ranks(loss.detach(), scores, labels, asked_to_stop=asked_to_stop)
        self.epoch_sums += torch.tensor([mean, accuracy], dtype=torch.float64)
        self.epoch_steps += 1
        if self.journal is not None:
            scale = 1.0 if masters.scale is None else masters.scale.scale
            self.journal.add("steps", (step + 1, epoch, rate, mean, accuracy, scale, int(not taken)))
        return mean, stops

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this rank's samples of *step*, and set what dropout will draw."""
        options, ranks = self.options, self.ranks
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, data_sets.order(len(self.data.training), options.seed, epoch))
        indices = data_sets.part(self._order[1], within, self.batch, ranks.rank, ranks.size)
        torch.manual_seed((options.seed * 1_000_003 + step) * ranks.size + ranks.rank)
        return self._on_device(*self.reader.batch(self.data.training, indices, seed=options.seed * 1_000_003 + epoch))

    def _on_device(self, samples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        samples = precision.inputs_in(self.masters.dtype, samples.to(self.ranks.device, non_blocking=True))
        if samples.is_cuda and samples.dim() == 4:
            samples = samples.contiguous(memory_format=torch.channels_last)
        return samples, labels.to(self.ranks.device, non_blocking=True)

    def _update(self, noise: NoiseScale | None, *, watched: bool) -> bool:
        """Update the weights unless a gradient overflowed; return whether."""
        masters, options = self.masters, self.options
        if not masters.take_gradients():
            scale = masters.scale.scale if masters.scale else 1.0
            self.tell(f"step {self.step + 1} skipped: a gradient overflowed; loss scale now {scale:g}")
            return False
        if noise is not None and self.journal is not None:
            row = noise.row([master.grad for _, master in masters.named if master.grad is not None])
            if row is not None:
                self.journal.add("noise_scale", (self.step + 1, *row))
        layers = Layers(masters.named, options.trust, options.weight_decay) if watched else None
        self.optimizer.step()
        masters.give_weights()
        if layers is not None and self.journal is not None:
            for name, *values in layers.rows():
                self.journal.add("layers", (self.step + 1, name, *values))
            if self.activation is not None:
                looked = (self.step + 1, options.watch_activation, *self.activation.distribution())
                self.journal.add("activations", looked)
        return True

    def _over_ranks(
        self, loss: Tensor, scores: Tensor, labels: Tensor, *, asked_to_stop: bool
    ) -> tuple[float, float, bool]:
        """Return loss and accuracy over all ranks, and whether any rank was asked to stop."""
        correct = (scores.detach().argmax(1) == labels).double().mean()
        flags = correct.new_tensor([float(asked_to_stop), self.reader.failed])
        sums = torch.cat([torch.stack([loss.double(), correct]), flags])
        mean, accuracy, stops, failures = self.ranks.sum(sums).tolist()
        self.reader.stop_if(failures)
        return mean / self.ranks.size, accuracy / self.ranks.size, stops > 0

    def _end_epoch(self, presence: Presence) -> None:
        presence.moved(self.step, _READING, "validating")
        with _blaming(presence):
            loss, self.accuracy = self._validate(presence)
        if self.journal is not None:
            training = (self.epoch_sums / self.epoch_steps).tolist()
            seconds = time.monotonic() - self.epoch_start
            epoch = self.step / self.steps_per_epoch
            self.journal.add("epochs", (self.step, epoch, *training, loss, self.accuracy, seconds))
        self.tell(
            f"epoch {self.step / self.steps_per_epoch:g}: loss {loss:.4f}, accuracy {self.accuracy:.2%} (validation)"
        )
        self.epoch_sums.zero_()
        self.epoch_steps, self.epoch_start = 0, time.monotonic()

    @torch.no_grad()
    def _validate(self, presence: Presence) -> tuple[float, float]:
        """Return mean loss and accuracy over the validation set, of which each rank takes a part."""
        batch_norm.average(self.model, self.ranks)
        self.model.eval()
        sums = torch.zeros(4, dtype=torch.float64, device=self.ranks.device)
        mine = torch.arange(len(self.data.validation))[self.ranks.rank :: self.ranks.size]
        for indices in mine.split(self.options.batch_per_gpu) if len(mine) else ():
            presence.moved(self.step, _COMPUTING, "validating")
            samples, labels = self._on_device(*self.reader.batch(self.data.validation, indices, seed=0))
            scores = self.model(samples).float()
            sums[0] += cross_entropy(scores, labels, reduction="sum")
            sums[1] += (scores.argmax(1) == labels).sum()
            sums[2] += len(labels)
        self.model.train()
        presence.moved(self.step, _COMMUNICATING, "validating")
        sums[3] = self.reader.failed
        loss, correct, count, failures = self.ranks.sum(sums).tolist()
        self.reader.stop_if(failures)
        return loss / count, correct / count

    def _save(self) -> None:
        if self.ranks.first:
            state = {
                "recipe": self._recipe(),
                "step": self.step,
                "model": self.model.state_dict(),
                "masters": self.masters.state(),
                "optimizer": self.optimizer.state_dict(),
                "engine": self.engine.state(),
                "epoch": [self.epoch_sums.tolist(), self.epoch_steps],
                "noise_scale": None if self.noise is None else self.noise.averages.state(),
            }
            checkpoint.write(self.options.output, self.step, state)

    def _restored(self) -> int:
        """Go on from the newest checkpoint; return the steps that it has done."""
        state = together(lambda: self._newest() if self.ranks.first else None)
        state = from_first(state)
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        self.masters.restore(state["masters"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.noise is not None and state.get("noise_scale") is not None:
            self.noise.averages.restore(state["noise_scale"])
        self.engine.restore(state["engine"])
        sums, self.epoch_steps = state["epoch"]
        self.epoch_sums += torch.tensor(sums, dtype=torch.float64)
        self.tell(f"going on after step {state['step']}")
        return int(state["step"])

    def _newest(self) -> checkpoint.State | None:
        """Return the newest checkpoint, or raise InputError if it is of another run."""
        state = checkpoint.newest(self.options.output, self.tell)
        if state is not None and "engine" not in state:
            raise InputError(f"{self.options.output}: an older lbsim wrote its checkpoint; give another --output")
        for field, value in self._recipe().items():
            if state is not None and state["recipe"].get(field) != value:
                was = state["recipe"].get(field)
                place = self.options.output
                raise InputError(
                    f"{place}: its checkpoint has {field} = {was!r}, not {value!r}; "
                    "give another --output, or the same options"
                )
        return state

    def _noise_scale(self) -> NoiseScale | None:
        if not self.options.noise_scale_every:
            return None
        return NoiseScale(self.model, self.ranks, self.batch, len(self.data.training))

    def _recipe(self) -> dict[str, object]:
        return self.options.recipe() | {"ranks": self.ranks.size}

    def _journal(self) -> Journal | None:
        if not self.ranks.first:
            return None
        told = {"batch": self.batch, "training_samples": len(self.data.training), "options": self._recipe()}
        try:
            journal = Journal(self.options.output, self.step, tensorboard=self.options.tensorboard)
            checkpoint.replace_with(self.options.output / "run.json", (json.dumps(told, indent=1) + "\n").encode())
            return journal  # noqa: TRY300  what is written last may fail too
        except OSError as error:
            raise InputError(f"--output {self.options.output}: {error.strerror}") from None


@contextmanager
def _blaming(presence: Presence) -> Iterator[None]:
    """Where communication fails, find the rank to blame and stop."""
    try:
        yield
    except RuntimeError as error:
        presence.stop(f"communication failed: {str(error).splitlines()[0]}")
        raise
