"""What a model does, as torch dispatches it: each operation on meta tensors becomes layers of a workload.

In inference mode torch hands over whole operations, such as ``linear``, before it takes them apart; one without a
rule in `lbsim.harness.tracing.operation_costs` is taken apart and its parts are recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lbsim.workload.layers import Layer, Tensor

BATCH = 2
"""Samples traced, of which a layer's cost is the share of one; batch norm refuses a single one."""


@dataclass
class Memory:
    """What is known of a storage, which an activation and its views share."""

    storage: torch.UntypedStorage
    """Held, so that no other takes its address."""
    elements: int
    per_sample: bool
    """Whether it is computed from the input, and not from parameters and constants alone."""
    needs_gradient: bool
    parameter: str | None = None
    kept: float = 0.0
    """Elements that backward finds kept already."""


@dataclass
class Call:
    """One operation, with what its rule asks."""

    name: str
    """Of torch's schema, without ``aten::`` and the underscore that says in place."""
    in_place: bool
    arguments: Mapping[str, Any]
    outputs: tuple[torch.Tensor, ...]
    recording: "Recording"
    output_kept: bool = False
    """Whether backward finds the output kept."""

    @property
    def output(self) -> torch.Tensor:
        """The first."""
        return self.outputs[0]

    @property
    def operands(self) -> list[torch.Tensor]:
        """All tensors among the arguments that are neither parameters nor single numbers."""
        return [tensor for tensor in tensors_in(self.arguments) if tensor.dim() and not self.parameter(tensor)]

    @property
    def needs_gradient(self) -> bool:
        """Whether backward passes through here."""
        inputs = tensors_in(self.arguments)
        return self.output.dtype.is_floating_point and any(self.gradient(tensor) for tensor in inputs)

    def size(self, tensor: torch.Tensor) -> float:
        """Return elements a sample: none of what does not grow with the batch."""
        known = self.recording.memory(tensor)
        computed = any(tensor is output for output in self.outputs)
        per_sample = self.recording.per_sample(self.arguments) if computed else known is not None and known.per_sample
        return tensor.numel() / BATCH if per_sample else 0.0

    def gradient(self, tensor: torch.Tensor) -> bool:
        """Return whether backward computes the gradient of *tensor*."""
        known = self.recording.memory(tensor)
        return known is not None and known.needs_gradient

    def parameter(self, tensor: torch.Tensor) -> bool:
        """Return whether *tensor* is a parameter or a view of one."""
        known = self.recording.memory(tensor)
        return known is not None and known.parameter is not None

    def keep(self, tensor: torch.Tensor) -> float:
        """Return the elements a sample to keep so that backward has *tensor*: none of what is kept already."""
        known = self.recording.memory(tensor)
        if known is None or known.parameter or not self.needs_gradient:
            return 0.0
        new = min(float(tensor.numel()), known.elements - known.kept)
        known.kept += new
        return new / BATCH if known.per_sample else 0.0

    def keep_output(self) -> float:
        """Return the elements a sample to keep so that backward has the output."""
        self.output_kept = self.needs_gradient
        return self.size(self.output) if self.output_kept else 0.0


Rule = Callable[[Call], Iterator[Layer]]
"""Yields the layers that an operation is, each under the name of what it does, without the module's."""


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Records what is dispatched while it is entered, as layers."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], rules: Mapping[str, Rule], other: Rule) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.modules: list[tuple[str, bool]] = []
        """The modules being run, outermost first, and whether each has no other inside it."""
        self._rules, self._other = rules, other
        self._memories: dict[int, Memory] = {}
        self._names: dict[str, int] = {}
        self._unclaimed = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        for name, parameter in parameters.items():
            self._remember(parameter, per_sample=False, needs_gradient=parameter.requires_grad, parameter=name)

    @property
    def unused(self) -> list[str]:
        """Names of trainable parameters that no operation has used."""
        return list(self._unclaimed)

    def feed(self, tensor: torch.Tensor) -> None:
        """Say that *tensor* is an input."""
        self._remember(tensor, per_sample=True, needs_gradient=False)

    def watch(self, model: torch.nn.Module) -> None:
        """Note which module of *model* runs."""
        for name, module in model.named_modules():
            entered = (name, not any(True for _ in module.children()))
            module.register_forward_pre_hook(lambda _module, _arguments, entered=entered: self.modules.append(entered))
            module.register_forward_hook(lambda _module, _arguments, _output: self._leave())

    def memory(self, tensor: torch.Tensor) -> Memory | None:
        """Return what is known of *tensor*, or None of a constant."""
        return self._memories.get(_address(tensor))

    def per_sample(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether any of *arguments* is computed from the input."""
        known = [self.memory(tensor) for tensor in tensors_in(arguments)]
        return any(memory is not None and memory.per_sample for memory in known)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run *func*, and record it unless it only looks at memory in another way."""
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        if name not in self._rules:
            with self:
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        result = func(*args, **kwargs)
        if name == "scaled_dot_product_attention" and result.dim() == 4:
            # GPUs' kernels lay it out so that joining the heads copies nothing
            result = torch.empty_like(result.transpose(1, 2).contiguous()).transpose(1, 2)
        arguments = _bound(func._schema, args, kwargs)
        outputs = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        if outputs and not self._is_view(func, arguments, outputs[0]):
            self._record(Call(name, func._schema.is_mutable, arguments, outputs, self))
        return result

    def _is_view(self, func: Any, arguments: Mapping[str, Any], output: torch.Tensor) -> bool:
        inputs = {_address(tensor) for tensor in tensors_in(arguments)}
        return not func._schema.is_mutable and _address(output) in inputs

    def _record(self, call: Call) -> None:
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

    def _claim(self, call: Call) -> tuple[Tensor, ...]:
        """Return the parameters that are used for the first time, whose gradients are therefore ready last here."""
        known = [self.memory(tensor) for tensor in tensors_in(call.arguments)]
        names = {memory.parameter for memory in known if memory is not None}
        claimed = {name: self._unclaimed.pop(name) for name in list(self._unclaimed) if name in names}
        return tuple(Tensor(name, tensor.numel(), tensor.dim() > 1) for name, tensor in claimed.items())

    def _remember(
        self, tensor: torch.Tensor, *, per_sample: bool, needs_gradient: bool, parameter: str | None = None
    ) -> Memory:
        known = Memory(tensor.untyped_storage(), tensor.numel(), per_sample, needs_gradient, parameter)
        self._memories[_address(tensor)] = known
        return known

    def _name(self, operation: str) -> str:
        """Return the running module's name, with *operation* unless that is all that the module does."""
        module, alone = self.modules[-1] if self.modules else ("", False)
        full = ".".join(part for part in (module, operation) if part)
        name = module if alone and module and module not in self._names else full
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name}.{self._names[name]}"

    def _leave(self) -> None:
        self.modules.pop()


def tensors_in(arguments: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the tensors of *arguments*, those in lists too."""
    return [leaf for leaf in tree_leaves(list(arguments.values())) if isinstance(leaf, torch.Tensor)]


def _bound(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return each argument of *schema* by its name, defaults too."""
    values = {argument.name: argument.default_value for argument in schema.arguments}
    return values | dict(zip(values, args, strict=False)) | dict(kwargs)


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
