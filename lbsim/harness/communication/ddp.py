"""The same step through torch's DistributedDataParallel with its own communication hooks: the ecosystem's reference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from lbsim.errors import InputError
from lbsim.harness.communication.gradient_engine import Engine, GradientEngine, check_agreement
from lbsim.harness.communication.options import DTYPES, CommunicationOptions
from lbsim.harness.communication.process_group import ranks
from lbsim.harness.communication.step_recorder import Shipment, StepRecorder

Hook = Callable[[Any, Any], "torch.futures.Future[torch.Tensor]"]

ENGINES = ("lbsim", "ddp")
_HOOKS: dict[str, Hook] = {
    "fp32": default_hooks.allreduce_hook,
    "fp16": default_hooks.fp16_compress_hook,
    "bf16": default_hooks.bf16_compress_hook,
}
_MIB = 2.0**20


def attach(
    engine: str, model: nn.Module, options: CommunicationOptions, recorder: StepRecorder | None = None
) -> tuple[nn.Module, Engine]:
    """Return what to run forward, and the engine, ``lbsim`` or ``ddp``, that brings its gradients' means."""
    if engine == "lbsim":
        return model, GradientEngine(list(model.named_parameters()), options, recorder)
    if engine != "ddp":
        raise InputError(f"no engine '{engine}'; there are: {', '.join(ENGINES)}")
    parallel = DdpEngine(model, options, recorder)
    return parallel.module, parallel


class DdpEngine:
    """DistributedDataParallel does all the work in the backward pass.

    It takes options that it has a word for: a fusion threshold (``bucket_cap_mb``; its first buffer is of 1 MiB at
    most) or one buffer, overlapped, by the backend's own all-reduce. A parameter without a gradient is an error there.
    """

    note = "DistributedDataParallel: its first bucket holds at most 1 MiB; half precision is divided after the cast"

    def __init__(self, model: nn.Module, options: CommunicationOptions, recorder: StepRecorder | None = None) -> None:
        _require_known(options)
        self._parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        check_agreement(self._parameters, options)
        self.recorder = recorder
        self._shipments: list[Shipment] = []
        self._input: tuple[tuple[int, ...], str] | None = None
        self._hooks = [
            parameter.register_hook(partial(self._on_ready, index))
            for index, (_, parameter) in enumerate(self._parameters)
        ]
        self.module = self._parallel(model, options) if ranks() > 1 else model

    def begin_step(self) -> None:
        """Start recording, if anything does."""
        self._shipments = []
        if self.recorder:
            self.recorder.begin(self._shipments)

    def finish_step(self) -> bool:
        """Return at once: backward returned with the means."""
        if self.recorder:
            self.recorder.mark("all_reduce")
        return False

    def state(self) -> dict[str, Any]:
        """Return what was last given to the model."""
        return {"input": self._input}

    def restore(self, state: dict[str, Any]) -> None:
        """Run the model once, for nothing: the first backward pass decides the buckets of all that come after it."""
        if state["input"] is None:
            return
        shape, dtype = state["input"]
        before = [buffer.clone() for buffer in self.module.buffers()]
        self.module(
            torch.zeros(shape, dtype=getattr(torch, dtype), device=self._parameters[0][1].device)
        ).sum().backward()
        for _, parameter in self._parameters:
            parameter.grad = None
        with torch.no_grad():
            for buffer, kept in zip(self.module.buffers(), before, strict=True):
                buffer.copy_(kept)

    def close(self) -> None:
        """Take the hooks off and let go of the module, which holds the process group."""
        self.module = nn.Identity()
        for hook in self._hooks:
            hook.remove()

    def _on_ready(self, index: int, _: torch.Tensor) -> None:
        if self.recorder:
            self.recorder.gradient(index)

    def _on_forward(self, _: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self._input = tuple(given[0].shape), str(given[0].dtype).removeprefix("torch.")

    def _parallel(self, model: nn.Module, options: CommunicationOptions) -> DistributedDataParallel:
        cap = 1e6 if options.fusion == "one-buffer" else options.fusion_threshold / _MIB
        parallel = DistributedDataParallel(model, bucket_cap_mb=cap, gradient_as_bucket_view=True)
        parallel.register_forward_pre_hook(self._on_forward)
        parallel.register_comm_hook(None, self._recorded(_HOOKS[options.precision], DTYPES[options.precision].itemsize))
        return parallel

    def _recorded(self, hook: Hook, element: int) -> Hook:
        """Return *hook* with marks before it and after its all-reduce, in steps that are recorded."""
        names = {id(parameter): name for name, parameter in self._parameters}

        def recorded(state: Any, bucket: Any) -> "torch.futures.Future[torch.Tensor]":
            recorder, index = self.recorder, len(self._shipments)
            if recorder is None:
                return hook(state, bucket)
            tensors = tuple(names[id(parameter)] for parameter in bucket.parameters())
            self._shipments.append(Shipment(tensors, float(bucket.buffer().numel() * element), "backend"))
            recorder.buffer(index, "ready")
            recorder.buffer(index, "sent")

            def received(future: "torch.futures.Future[torch.Tensor]") -> torch.Tensor:
                recorder.buffer(index, "received")
                return future.value()

            return hook(state, bucket).then(received)

        recorded.__annotations__["bucket"] = vars(dist)["GradBucket"]  # DDP checks these two
        recorded.__annotations__["return"] = torch.futures.Future[torch.Tensor]
        return recorded


def _require_known(options: CommunicationOptions) -> None:
    if options.all_reduce != "backend":
        raise InputError(f"all_reduce: --engine ddp has no '{options.all_reduce}'; write backend, or --engine lbsim")
    if options.fusion not in {"threshold", "ddp", "one-buffer"}:
        raise InputError(f"fusion: --engine ddp has no '{options.fusion}'; write threshold or one-buffer")
    if not options.overlap:
        raise InputError("overlap: --engine ddp always overlaps; write --engine lbsim")
