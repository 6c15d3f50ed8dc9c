"""Dispatch recorder: each operation that torch dispatches on meta tensors becomes layers of a workload.

In inference mode torch dispatches composite operations, such as ``linear``, before it decomposes them; one without a
rule in `lbsim.harness.tracing.operation_costs` is decomposed and its parts are recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lbsim.workload.layers import Layer, Tensor

__all__ = ["BATCH", "CostRule", "DispatchRecorder", "OperationCall", "StorageInfo", "tensors_in"]

BATCH = 2
"""Samples of the traced batch; costs are divided by it. Batch norm refuses a single sample."""


@dataclass
class StorageInfo:
    """Properties of a storage, which a tensor and its views share."""

    storage: torch.UntypedStorage
    """The storage; the reference keeps its address from being reused."""
    elements: int
    per_sample: bool
    """Whether it is computed from the input, and not only from parameters and constants."""
    needs_gradient: bool
    """Whether backward computes its gradient."""
    parameter: str | None = None
    """Name of the parameter; None for an activation."""
    kept: float = 0.0
    """Elements that are already counted as kept for backward."""


@dataclass
class OperationCall:
    """One dispatched operation, with the queries of its cost rule."""

    name: str
    """Name of the operation's schema, without ``aten::`` and the underscore of an in-place operation."""
    in_place: bool
    arguments: Mapping[str, Any]
    outputs: tuple[torch.Tensor, ...]
    recorder: "DispatchRecorder"
    output_kept: bool = False
    """Whether the output is kept for backward."""

    @property
    def output(self) -> torch.Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def operands(self) -> list[torch.Tensor]:
        """Tensors among the arguments that are neither parameters nor scalars."""
        return [tensor for tensor in tensors_in(self.arguments) if tensor.dim() and not self.parameter(tensor)]

    @property
    def needs_gradient(self) -> bool:
        """Whether backward passes through this operation."""
        inputs = tensors_in(self.arguments)
        return self.output.dtype.is_floating_point and any(self.gradient(tensor) for tensor in inputs)

    def size(self, tensor: torch.Tensor) -> float:
        """Return the elements of *tensor* per sample; 0 if its size does not depend on the batch."""
        known = self.recorder.memory(tensor)
        computed = any(tensor is output for output in self.outputs)
        per_sample = self.recorder.per_sample(self.arguments) if computed else known is not None and known.per_sample
        return tensor.numel() / BATCH if per_sample else 0.0

    def gradient(self, tensor: torch.Tensor) -> bool:
        """Return whether backward computes the gradient of *tensor*."""
        known = self.recorder.memory(tensor)
        return known is not None and known.needs_gradient

    def parameter(self, tensor: torch.Tensor) -> bool:
        """Return whether *tensor* is a parameter or a view of one."""
        known = self.recorder.memory(tensor)
        return known is not None and known.parameter is not None

    def keep(self, tensor: torch.Tensor) -> float:
        """Keep *tensor* for backward; return the elements per sample that are not kept already."""
        known = self.recorder.memory(tensor)
        if known is None or known.parameter or not self.needs_gradient:
            return 0.0
        new = min(float(tensor.numel()), known.elements - known.kept)
        known.kept += new
        return new / BATCH if known.per_sample else 0.0

    def keep_output(self) -> float:
        """Keep the output for backward; return its elements per sample."""
        self.output_kept = self.needs_gradient
        return self.size(self.output) if self.output_kept else 0.0


CostRule = Callable[[OperationCall], Iterator[Layer]]
"""Yields the layers of an operation, named after the operation without the module."""


class DispatchRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Records the operations dispatched in its context as layers.

    *rules* are cost rules by name of the operation; *other* is for operations without a rule.
    """

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], rules: Mapping[str, CostRule], other: CostRule
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.layers: list[Layer] = []
        self.modules: list[tuple[str, bool]] = []
        """Names of the running modules, outermost first, and whether each is a leaf."""
        self._rules, self._other = rules, other
        self._memories: dict[int, StorageInfo] = {}
        self._names: dict[str, int] = {}
        self._unclaimed = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        for name, parameter in parameters.items():
            self._remember(parameter, per_sample=False, needs_gradient=parameter.requires_grad, parameter=name)

    @property
    def unused(self) -> list[str]:
        """Names of trainable parameters that no operation has used."""
        return list(self._unclaimed)

    def add_input(self, tensor: torch.Tensor) -> None:
        """Register *tensor* as an input of the model."""
        self._remember(tensor, per_sample=True, needs_gradient=False)

    def watch(self, model: torch.nn.Module) -> None:
        """Track the running module of *model* through hooks."""
        for name, module in model.named_modules():
            entered = (name, not any(True for _ in module.children()))
            module.register_forward_pre_hook(lambda _module, _arguments, entered=entered: self.modules.append(entered))
            module.register_forward_hook(lambda _module, _arguments, _output: self._leave())

    def memory(self, tensor: torch.Tensor) -> StorageInfo | None:
        """Return the properties of *tensor*'s storage; None for a constant."""
        return self._memories.get(_address(tensor))

    def per_sample(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether any of *arguments* is computed from the input."""
        known = [self.memory(tensor) for tensor in tensors_in(arguments)]
        return any(memory is not None and memory.per_sample for memory in known)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run *func*, and record it unless its output is a view of an input."""
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        if name not in self._rules:
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        result = func(*args, **kwargs)
        if name == "scaled_dot_product_attention" and result.dim() == 4:
            # in the memory layout of GPU kernels, so that joining the heads is not a copy
            result = torch.empty_like(result.transpose(1, 2).contiguous()).transpose(1, 2)
        arguments = _bound(func._schema, args, kwargs)
        outputs = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        if outputs and not self._is_view(func, arguments, outputs[0]):
            self._record(OperationCall(name, func._schema.is_mutable, arguments, outputs, self))
        return result

    def _is_view(self, func: Any, arguments: Mapping[str, Any], output: torch.Tensor) -> bool:
        inputs = {_address(tensor) for tensor in tensors_in(arguments)}
        return not func._schema.is_mutable and _address(output) in inputs

    def _record(self, call: OperationCall) -> None:
        per_sample = self.per_sample(call.arguments)
        if not per_sample and not any(call.gradient(tensor) for tensor in tensors_in(call.arguments)):
            return  # a constant
        needs_gradient, claimed = call.needs_gradient, self._claim(call)
        for layer in self._rules.get(call.name, self._other)(call):
            norm = layer.kind == "normalisation"
            tensors = tuple(replace(tensor, adapted=tensor.adapted and not norm) for tensor in claimed)
            self.layers.append(replace(layer, name=self._name(layer.name), tensors=tensors))
            claimed = ()
        for output in call.outputs:
            floating = output.dtype.is_floating_point
            known = self._remember(output, per_sample=per_sample, needs_gradient=needs_gradient and floating)
            known.kept = float(output.numel()) if call.output_kept else 0.0

    def _claim(self, call: OperationCall) -> tuple[Tensor, ...]:
        """Return the parameters that are used for the first time here; their gradients are ready last here."""
        known = [self.memory(tensor) for tensor in tensors_in(call.arguments)]
        names = {memory.parameter for memory in known if memory is not None}
        claimed = {name: self._unclaimed.pop(name) for name in list(self._unclaimed) if name in names}
        return tuple(Tensor(name, tensor.numel(), tensor.dim() > 1) for name, tensor in claimed.items())

    def _remember(
        self, tensor: torch.Tensor, *, per_sample: bool, needs_gradient: bool, parameter: str | None = None
    ) -> StorageInfo:
        known = StorageInfo(tensor.untyped_storage(), tensor.numel(), per_sample, needs_gradient, parameter)
        self._memories[_address(tensor)] = known
        return known

    def _name(self, operation: str) -> str:
        """Return the name of the running module, followed by *operation* unless it is a leaf's first operation."""
        module, leaf = self.modules[-1] if self.modules else ("", False)
        full = ".".join(part for part in (module, operation) if part)
        name = module if leaf and module and module not in self._names else full
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name}.{self._names[name]}"

    def _leave(self) -> None:
        self.modules.pop()


def tensors_in(arguments: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the tensors in *arguments*, including those in lists."""
    return [leaf for leaf in tree_leaves(list(arguments.values())) if isinstance(leaf, torch.Tensor)]


def _bound(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of *schema* by name, including defaults."""
    values = {argument.name: argument.default_value for argument in schema.arguments}
    return values | dict(zip(values, args, strict=False)) | dict(kwargs)


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
