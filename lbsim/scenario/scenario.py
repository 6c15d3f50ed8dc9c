"""Scenario: the input of a prediction, and overrides by dotted path."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from lbsim.errors import InputError, from_validation_error, unknown_name
from lbsim.profiles import catalog
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.profiles.hardware import Cluster, Precision
from lbsim.profiles.module_catalog import find_module
from lbsim.profiles.profile import Profile, Table, by_name
from lbsim.profiles.software import Software
from lbsim.scenario.plan import Plan
from lbsim.units import SamplesPerSecond
from lbsim.workload import workload_file
from lbsim.workload.layers import Workload

__all__ = ["DEFAULT_CLUSTER", "DEFAULT_MODEL", "DEFAULT_SOFTWARE", "Anchor", "Scenario", "find_workload", "override"]

DEFAULT_CLUSTER = "dgx-h100"
DEFAULT_MODEL = "resnet50"
DEFAULT_SOFTWARE = "pytorch-nccl"


class Anchor(Table):
    """Measured throughput that rescales the compute time of a prediction."""

    throughput: SamplesPerSecond
    """Samples per second over all GPUs of the measurement."""
    gpus: int = Field(default=1, ge=1)
    """GPUs of the measurement."""
    batch_per_gpu: int | None = Field(default=None, ge=1)
    """Samples per GPU and step in the measurement; None takes the plan's."""
    precision: Precision | None = None
    """Precision of the measurement; None takes the plan's."""


class Scenario(Table):
    """Input of a prediction: a cluster, a model, a software stack, a plan and an optional anchor.

    >>> scenario = Scenario.of(gpus=1024, model="resnet50", cluster="mn-1", software="chainer-2017")
    >>> scenario.cluster.inter_node.name, scenario.plan.overlap
    ('ib-fdr', False)
    """

    cluster: Annotated[Cluster, by_name("clusters")]
    model: str = DEFAULT_MODEL
    """Name of a module in ``lbsim/workload/models``, or the path of a workload file."""
    software: Annotated[Software, by_name("software")]
    plan: Plan
    anchor: Anchor | None = None

    @classmethod
    def of(
        cls,
        *,
        gpus: int,
        cluster: str | Path | Cluster = DEFAULT_CLUSTER,
        model: str = DEFAULT_MODEL,
        software: str | Path | Software = DEFAULT_SOFTWARE,
        anchor: str | Anchor | None = None,
        folders: Folders = SHIPPED,
        **plan: Any,
    ) -> Self:
        """Return the scenario of the given profiles and plan.

        *cluster* and *software* are names, paths to TOML files or profiles; *folders* is the search path. *model* is a
        name or the path of a workload file. *anchor* as text is a throughput on one GPU, e.g. ``"218 samples/s"``.
        The keyword arguments *plan* are fields of `Plan`, as text with a unit or as SI floats.

        InputError, which names the field, if an argument is invalid.
        """
        tables = {
            "cluster": cluster if isinstance(cluster, Cluster) else Cluster.load(cluster, folders),
            "model": model,
            "software": software if isinstance(software, Software) else Software.load(software, folders),
            "plan": {"gpus": gpus} | plan,
            "anchor": {"throughput": anchor} if isinstance(anchor, str) else anchor,
        }
        try:
            return cls.model_validate(tables)
        except ValidationError as error:
            raise from_validation_error(error) from None

    @classmethod
    def read(cls, tables: Mapping[str, Any], folders: Folders = SHIPPED) -> Self:
        """Return the scenario of *tables*, as read from a file; missing parts have defaults.

        InputError, which names the field, if a table is invalid.
        """
        defaults = {"cluster": DEFAULT_CLUSTER, "software": DEFAULT_SOFTWARE}
        try:
            return cls.model_validate(defaults | dict(tables), context=folders)
        except ValidationError as error:
            raise from_validation_error(error) from None

    @model_validator(mode="before")
    @classmethod
    def _plan_from_software(cls, tables: Any, info: ValidationInfo) -> Any:
        """Fill missing fields of the plan with the software's defaults."""
        if not isinstance(tables, dict) or isinstance(tables.get("plan"), Plan):
            return tables
        given = tables.get("software", DEFAULT_SOFTWARE)
        folders = info.context if isinstance(info.context, Folders) else SHIPPED
        if isinstance(given, Software):
            defaults = given.defaults
        else:
            given = catalog.profile_table("software", given, folders)
            defaults = given.get("defaults", {})
        return tables | {"software": given, "plan": dict(defaults) | dict(tables.get("plan", {}))}

    @field_validator("model")
    @classmethod
    def _path_from_anywhere(cls, model: str, info: ValidationInfo) -> str:
        """Make the path of a workload file absolute; it may be relative to the file being read."""
        if not workload_file.is_workload_file(model):
            return model
        beside = info.context.beside if isinstance(info.context, Folders) else None
        return str(((beside or Path()) / model).absolute())

    @property
    def workload(self) -> Workload:
        """Workload of the model."""
        return find_workload(self.model)


def find_workload(model: str) -> Workload:
    """Return the workload of *model*, the name of a module in ``lbsim/workload/models`` or a workload file's path.

    InputError if there is no such model or the file is invalid.
    """
    return workload_file.read_workload(Path(model)) if workload_file.is_workload_file(model) else _built(model)


@lru_cache
def _built(name: str) -> Workload:
    built: Workload = find_module("workloads", name).build()
    return built


def override(scenario: Scenario, changes: Mapping[str, Any], folders: Folders = SHIPPED) -> Scenario:
    """Return a copy of *scenario* with the field at each dotted path of *changes* replaced.

    Values are text with a unit, which is parsed, or SI floats. A field that holds a profile takes a profile's name.

    InputError, with the closest name, if a path does not exist; InputError if a value is invalid.

    >>> scenario = Scenario.of(gpus=8)
    >>> override(scenario, {"cluster.inter_node.bandwidth": "10 Gb/s"}).cluster.inter_node.bandwidth
    1250000000.0
    """
    for path, value in changes.items():
        scenario = _changed(scenario, path.split("."), value, path, folders)
    return scenario


_Model = TypeVar("_Model", bound=BaseModel)


def _changed(model: _Model, parts: Sequence[str], value: Any, path: str, folders: Folders) -> _Model:
    name, rest = parts[0], parts[1:]
    _check_field(model, name, path)
    fields = {field: getattr(model, field) for field in type(model).model_fields}
    if not rest:
        fields[name] = _profile_named(model, name, value, folders)
    elif isinstance(fields[name], BaseModel):
        fields[name] = _changed(fields[name], rest, value, path, folders)
    elif fields[name] is None and len(rest) == 1:
        fields[name] = {rest[0]: value}
    else:
        raise InputError(f"no '{path}'; '{name}' has no fields")
    try:
        return type(model).model_validate(fields)
    except ValidationError as error:
        raise from_validation_error(error, path if rest else path.rpartition(".")[0]) from None


def _check_field(model: object, name: str, path: str) -> None:
    if not isinstance(model, BaseModel):
        raise InputError(f"no '{path}'; '{path.rpartition('.')[0]}' has no fields")
    if name not in type(model).model_fields:
        before = path.partition(name)[0].rstrip(".") if name else path
        raise unknown_name(path, "a scenario", type(model).model_fields, f"{before or 'it'} has")


def _profile_named(model: BaseModel, name: str, value: Any, folders: Folders) -> Any:
    """Return the profile named *value* if field *name* of *model* holds a profile, otherwise *value*."""
    annotation = type(model).model_fields[name].annotation
    classes = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    profiles = [kind for kind in classes if issubclass(kind, Profile)]
    return profiles[0].load(value, folders) if profiles and isinstance(value, str) else value
