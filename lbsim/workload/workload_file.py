"""Workload files in JSON or TOML: the output of ``lbsim workload trace``, read by ``--model FILE`` without torch.

Layers are in forward order. Sizes are in elements, so that one file serves every precision. The totals and the order
of the gradients, which the file states for its reader, must agree with the layers.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lbsim.errors import InputError, from_validation_error
from lbsim.profiles import catalog
from lbsim.profiles.profile import Table, Text
from lbsim.units import DATA, Bytes
from lbsim.workload.layers import Layer, Tensor, Workload

__all__ = [
    "SUFFIXES",
    "Amount",
    "Count",
    "LayerKind",
    "LayerTable",
    "TensorTable",
    "WorkloadTable",
    "is_workload_file",
    "read_workload",
    "workload_to_json",
]

SUFFIXES = (".json", ".toml")
_ROUNDING = 1e-9
"""Relative tolerance of sums, because a sum of floats depends on its order."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
LayerKind = Literal["convolution", "linear", "product", "normalisation", "elementwise", "pooling", "lookup"]


class TensorTable(Table):
    """Schema of a `Tensor` in a workload file."""

    name: Text
    elements: int = Field(ge=1)
    adapted: bool = True


class LayerTable(Table):
    """Schema of a `Layer` in a workload file; costs are per sample."""

    name: Text
    kind: LayerKind
    forward_flops: Amount = 0.0
    backward_flops: Amount = 0.0
    forward_elements: Amount
    backward_elements: Amount
    saved_elements: Amount = 0.0
    tensors: tuple[TensorTable, ...] = ()
    kernels: tuple[Count, Count] = (1, 1)
    channels: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    square: bool = False
    fusible: bool = False

    def layer(self) -> Layer:
        """Return the layer."""
        tensors = tuple(Tensor(**tensor.model_dump()) for tensor in self.tensors)
        return Layer(**self.model_dump(exclude={"tensors"}), tensors=tensors)


class WorkloadTable(Table):
    """Schema of a workload file."""

    format: Literal["lbsim workload"]
    version: Literal[1]
    name: Text
    source: Text
    input: Bytes
    """Bytes of one sample as copied to the accelerator."""
    samples: int = Field(ge=1)
    validation_samples: Count = 0
    parameters: Count | None = None
    forward_flops: Amount | None = None
    layers: tuple[LayerTable, ...] = Field(min_length=1)
    gradients: tuple[str, ...] | None = None
    """Names of the trainable tensors in the order in which backward completes their gradients."""

    @model_validator(mode="after")
    def _sums_are_the_layers(self) -> Self:
        workload = self.workload()
        names = tuple(tensor.name for tensor in workload.tensors)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"layers: two tensors are named '{twice}'; list a tied tensor only in its first layer")
        if self.parameters not in {None, workload.parameters}:
            raise ValueError(
                f"parameters: {self.parameters}, but the layers' parameters add up to {workload.parameters}"
            )
        if self.forward_flops is not None and not isclose(
            self.forward_flops, workload.forward_flops, rel_tol=_ROUNDING
        ):
            raise ValueError(
                f"forward_flops: {self.forward_flops:.15g}, but the layers' FLOP add up to "
                f"{workload.forward_flops:.15g}"
            )
        if self.gradients not in {None, names}:
            raise ValueError(
                "gradients: not the layers' tensors from the last layer to the first; correct or remove the list"
            )
        return self

    def workload(self) -> Workload:
        """Return the workload."""
        layers = tuple(layer.layer() for layer in self.layers)
        return Workload(self.name, layers, self.source, self.input, self.samples, self.validation_samples)


def is_workload_file(model: str) -> bool:
    """Return whether *model* is the path of a workload file, by its suffix, and not the name of a model."""
    return model.endswith(SUFFIXES)


def read_workload(file: Path) -> Workload:
    """Return the workload in *file*.

    InputError, with the file and the first invalid field, if it cannot be read.
    """
    try:
        stamp = file.stat()
    except OSError:
        raise InputError(f"no model file '{file}'; write one with lbsim workload trace") from None
    return _read(file, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=8)
def _read(file: Path, changed: int, size: int) -> Workload:  # noqa: ARG001  # part of the cache key: a changed file is read again
    try:
        return WorkloadTable.model_validate(_content(file), context=file).workload()
    except ValidationError as error:
        raise from_validation_error(error, str(file)) from None


def _content(file: Path) -> Any:
    if file.suffix == ".toml":
        return catalog.read_toml(file)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: {error}") from None


def workload_to_json(workload: Workload) -> str:
    """Return *workload* as the JSON text of a workload file, one layer per line, without default values."""
    return "".join(_lines(workload))


def _lines(workload: Workload) -> Iterator[str]:
    head = {
        "format": "lbsim workload",
        "version": 1,
        "name": workload.name,
        "source": workload.source,
        "input": DATA.text(workload.input_bytes),
        "samples": workload.samples,
        "validation_samples": workload.validation_samples,
        "parameters": workload.parameters,
        "forward_flops": workload.forward_flops,
    }
    yield "{\n"
    for name, value in head.items():
        yield f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)},\n"
    yield '  "layers": [\n'
    yield ",\n".join(f"    {_one_line(layer)}" for layer in workload.layers)
    yield '\n  ],\n  "gradients": [\n'
    yield ",\n".join(f"    {json.dumps(tensor.name)}" for tensor in workload.tensors)
    yield "\n  ]\n}\n"


def _one_line(layer: Layer) -> str:
    table = LayerTable.model_validate(asdict(layer))
    return json.dumps(table.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, allow_nan=False)
