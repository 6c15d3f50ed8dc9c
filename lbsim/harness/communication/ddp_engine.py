"""DDP engine: torch's DistributedDataParallel with torch's communication hooks, the reference implementation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from lbsim.errors import InputError
from lbsim.harness.communication.agreement import require_agreement
from lbsim.harness.communication.options import DTYPES, CommunicationOptions
from lbsim.harness.communication.process_group import world_size
from lbsim.harness.communication.step_recorder import PlannedBuffer, StepRecorder

__all__ = ["DdpEngine"]

Future = torch.futures.Future[torch.Tensor]
Hook = Callable[[Any, Any], Future]

_HOOKS: dict[str, Hook] = {
    "fp32": default_hooks.allreduce_hook,
    "fp16": default_hooks.fp16_compress_hook,
    "bf16": default_hooks.bf16_compress_hook,
}
_MIB = 2.0**20


class DdpEngine:
    """Engine in which DistributedDataParallel does all communication during the backward pass.

    It supports the options that DistributedDataParallel has: a fusion threshold (``bucket_cap_mb``; its first bucket
    holds at most 1 MiB) or one buffer, overlap, and the backend's all-reduce. Other options raise InputError. A
    parameter without a gradient is an error of DistributedDataParallel.
    """

    note = "DistributedDataParallel: its first bucket holds at most 1 MiB; half precision is divided after the cast"

    def __init__(self, model: nn.Module, options: CommunicationOptions, recorder: StepRecorder | None = None) -> None:
        _require_supported(options)
        self._parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        require_agreement(self._parameters, options)
        self.recorder = recorder
        self._buckets: list[PlannedBuffer] = []
        self._input: tuple[tuple[int, ...], str] | None = None
        self._hooks = [
            parameter.register_hook(partial(self._on_ready, index))
            for index, (_, parameter) in enumerate(self._parameters)
        ]
        self.module = self._parallel(model, options) if world_size() > 1 else model

    def begin_step(self) -> None:
        """Start a step, and its record if there is a recorder."""
        self._buckets = []
        if self.recorder:
            self.recorder.begin(self._buckets)

    def finish_step(self) -> bool:
        """Return False at once: the gradients are means when backward returns."""
        if self.recorder:
            self.recorder.mark("all_reduce")
        return False

    def state(self) -> dict[str, Any]:
        """Return shape and type of the last input of the model."""
        return {"input": self._input}

    def restore(self, state: dict[str, Any]) -> None:
        """Run one backward pass on zeros and discard it: the first one decides the buckets of all later ones."""
        if state["input"] is None:
            return
        shape, dtype = state["input"]
        before = [buffer.clone() for buffer in self.module.buffers()]
        zeros = torch.zeros(shape, dtype=getattr(torch, dtype), device=self._parameters[0][1].device)
        self.module(zeros).sum().backward()
        for _, parameter in self._parameters:
            parameter.grad = None
        with torch.no_grad():
            for buffer, saved in zip(self.module.buffers(), before, strict=True):
                buffer.copy_(saved)

    def close(self) -> None:
        """Remove the hooks and the reference to the module, which holds the process group."""
        self.module = nn.Identity()
        for hook in self._hooks:
            hook.remove()

    def _on_ready(self, index: int, _: torch.Tensor) -> None:
        if self.recorder:
            self.recorder.gradient(index)

    def _on_forward(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._input = tuple(inputs[0].shape), str(inputs[0].dtype).removeprefix("torch.")

    def _parallel(self, model: nn.Module, options: CommunicationOptions) -> DistributedDataParallel:
        cap = 1e6 if options.fusion == "one-buffer" else options.fusion_threshold / _MIB
        parallel = DistributedDataParallel(model, bucket_cap_mb=cap, gradient_as_bucket_view=True)
        parallel.register_forward_pre_hook(self._on_forward)
        parallel.register_comm_hook(None, self._recorded(_HOOKS[options.precision], DTYPES[options.precision].itemsize))
        return parallel

    def _recorded(self, hook: Hook, element_bytes: int) -> Hook:
        """Return *hook* with marks before and after its all-reduce, in steps that are recorded."""
        names = {id(parameter): name for name, parameter in self._parameters}

        def recorded(state: Any, bucket: Any) -> Future:
            recorder, index = self.recorder, len(self._buckets)
            if recorder is None:
                return hook(state, bucket)
            tensors = tuple(names[id(parameter)] for parameter in bucket.parameters())
            self._buckets.append(PlannedBuffer(tensors, float(bucket.buffer().numel() * element_bytes), "backend"))
            recorder.buffer(index, "ready")
            recorder.buffer(index, "sent")

            def received(future: Future) -> torch.Tensor:
                recorder.buffer(index, "received")
                return future.value()

            return hook(state, bucket).then(received)

        # DistributedDataParallel checks these two annotations
        recorded.__annotations__["bucket"] = vars(dist)["GradBucket"]
        recorded.__annotations__["return"] = Future
        return recorded


def _require_supported(options: CommunicationOptions) -> None:
    if options.all_reduce != "backend":
        raise InputError(f"all_reduce: --engine ddp has no '{options.all_reduce}'; write backend, or --engine lbsim")
    if options.fusion not in {"threshold", "ddp", "one-buffer"}:
        raise InputError(f"fusion: --engine ddp has no '{options.fusion}'; write threshold or one-buffer")
    if not options.overlap:
        raise InputError("overlap: --engine ddp always overlaps; write --engine lbsim")
