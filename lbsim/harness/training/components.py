"""Components of a training run: data, model, engine, master weights and optimizer, ready for the first step."""

from dataclasses import dataclass

import torch
from torch import distributed, nn

from lbsim.errors import InputError
from lbsim.harness import models
from lbsim.harness.communication.engine import Engine
from lbsim.harness.communication.engines import attach, parse_options
from lbsim.harness.communication.process_group import ProcessGroup, on_all_ranks
from lbsim.harness.optimizers.multi_tensor import MultiTensorOptimizer
from lbsim.harness.training import batch_norm, data, optimizer, precision
from lbsim.harness.training.batch_loader import BatchLoader
from lbsim.harness.training.data import Data
from lbsim.harness.training.gradient_noise import NoiseScaleEstimator
from lbsim.harness.training.layer_statistics import ActivationRecorder
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.precision import MasterWeights

__all__ = ["Components", "build"]


@dataclass(frozen=True)
class Components:
    """Parts of a training run on one rank."""

    options: TrainOptions
    group: ProcessGroup
    data: Data
    loader: BatchLoader
    model: nn.Module
    forward: nn.Module
    """Module to run forward: the model, or the engine's wrapper of it."""
    engine: Engine
    masters: MasterWeights
    optimizer: MultiTensorOptimizer
    noise_scale: NoiseScaleEstimator | None
    activation: ActivationRecorder | None

    @property
    def batch(self) -> int:
        """Samples per step, over all ranks."""
        return self.options.batch_per_gpu * self.group.size

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch; samples that do not fill a batch are left out."""
        return len(self.data.training) // self.batch

    @property
    def planned_steps(self) -> int:
        """Steps of all epochs."""
        return max(1, round(self.options.epochs * self.steps_per_epoch))

    @property
    def last_step(self) -> int:
        """Steps of the run: those of all epochs, or fewer in a trial."""
        return min(self.planned_steps, self.options.steps or self.planned_steps)

    @property
    def recipe(self) -> dict[str, object]:
        """Options that decide the losses, which a resumed run must share."""
        return self.options.recipe() | {"ranks": self.group.size}


def build(options: TrainOptions, group: ProcessGroup) -> Components:
    """Return the components for *options*; all ranks call this together and raise the same InputError."""
    batch = options.batch_per_gpu * group.size
    loaded, model, activation = on_all_ranks(lambda: _load(options, group, batch))
    group.require_same({"data": str(loaded)}, "give every rank the same files")
    _broadcast_weights(model, group)
    masters = MasterWeights(model, options.precision, options.loss_scale)
    update = optimizer.build(options, masters.named)
    communication = on_all_ranks(lambda: parse_options(options.engine, options.communication))
    # a single rank has no messages, so every engine is the plain one
    forward, engine = attach("plain" if group.size == 1 else options.engine, model, communication)
    noise_scale = on_all_ranks(
        lambda: NoiseScaleEstimator(model, group, batch, len(loaded.training)) if options.noise_scale_every else None
    )
    loader = BatchLoader(loaded.shape)
    return Components(options, group, loaded, loader, model, forward, engine, masters, update, noise_scale, activation)


def _load(options: TrainOptions, group: ProcessGroup, batch: int) -> tuple[Data, nn.Module, ActivationRecorder | None]:
    """Return data, model and activation recorder; InputError if they do not fit together."""
    precision.require_precision(options.precision, group.device)
    torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")
    loaded = data.load(options.data, models.input_shape(options.model), options.folder)
    if len(loaded.training) < batch:
        raise InputError(
            f"--batch-per-gpu {options.batch_per_gpu}: a batch of {batch} over {group.size} ranks, but "
            f"{options.data} has {len(loaded.training)} samples; write at most {len(loaded.training) // group.size}"
        )
    torch.manual_seed(options.seed)
    model = models.build_model(options.model, loaded.shape, loaded.classes).to(group.device)
    models.require_input(model, loaded.shape, loaded.classes, options.batch_per_gpu)
    if group.device.type == "cuda" and len(loaded.shape) == 3:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    batch_norm.keep_last_batch(model)
    activation = None if options.watch_activation is None else ActivationRecorder(model, options.watch_activation)
    return loaded, model.train(), activation


def _broadcast_weights(model: nn.Module, group: ProcessGroup) -> None:
    """Give every rank the weights of rank 0."""
    if group.size > 1:
        for tensor in model.state_dict().values():
            distributed.broadcast(tensor, src=0)
