"""Everything that one prediction depends on, and how to change any part of it by its dotted path."""

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

DEFAULT_CLUSTER = "dgx-h100"
DEFAULT_MODEL = "resnet50"
DEFAULT_SOFTWARE = "pytorch-nccl"


class Anchor(Table):
    """One measured throughput, which rescales the compute of a prediction."""

    throughput: SamplesPerSecond
    """Over all the GPUs it was measured on."""
    gpus: int = Field(default=1, ge=1)
    batch_per_gpu: int | None = Field(default=None, ge=1)
    """If none, the plan's."""
    precision: Precision | None = None
    """If none, the plan's."""


class Scenario(Table):
    """A cluster, a model, a software stack and a plan: all that a prediction depends on.

    >>> scenario = Scenario.of(gpus=1024, model="resnet50", cluster="mn-1", software="chainer-2017")
    >>> scenario.cluster.inter_node.name, scenario.plan.overlap
    ('ib-fdr', False)
    """

    cluster: Annotated[Cluster, by_name("clusters")]
    model: str = DEFAULT_MODEL
    """A file in ``lbsim/workload/models``, or the path of a workload file."""
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
        """Return the scenario that these names mean; *plan* holds fields of `Plan`, as text or as SI floats.

        *anchor* as text is a throughput at one GPU. InputError says which part is wrong.
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
        """Return the scenario that *tables*, as read from a file, say; what they leave out has a default."""
        defaults = {"cluster": DEFAULT_CLUSTER, "software": DEFAULT_SOFTWARE}
        try:
            return cls.model_validate(defaults | dict(tables), context=folders)
        except ValidationError as error:
            raise from_validation_error(error) from None

    @model_validator(mode="before")
    @classmethod
    def _plan_from_software(cls, tables: Any, info: ValidationInfo) -> Any:
        """Fill what the plan does not say with what the software does of its own accord."""
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
        """Make the path of a file, which may be told from the file being read, absolute."""
        if not workload_file.is_workload_file(model):
            return model
        beside = info.context.beside if isinstance(info.context, Folders) else None
        return str(((beside or Path()) / model).absolute())

    @property
    def workload(self) -> Workload:
        """The model's layers."""
        return find_workload(self.model)


def find_workload(model: str) -> Workload:
    """Return what *model*, a file in ``lbsim/workload/models`` or the path of a workload file, means."""
    return workload_file.read_workload(Path(model)) if workload_file.is_workload_file(model) else _built(model)


@lru_cache
def _built(name: str) -> Workload:
    built: Workload = find_module("workloads", name).build()
    return built


def override(scenario: Scenario, changes: Mapping[str, Any], folders: Folders = SHIPPED) -> Scenario:
    """Return *scenario* with each dotted path of *changes* set; text is parsed, SI floats are taken as they are.

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
        raise InputError(f"no '{path}'; '{name}' has nothing inside it")
    try:
        return type(model).model_validate(fields)
    except ValidationError as error:
        raise from_validation_error(error, path if rest else path.rpartition(".")[0]) from None


def _check_field(model: object, name: str, path: str) -> None:
    if not isinstance(model, BaseModel):
        raise InputError(f"no '{path}'; nothing stands below '{path.rpartition('.')[0]}'")
    if name not in type(model).model_fields:
        before = path.partition(name)[0].rstrip(".") if name else path
        raise unknown_name(path, "a scenario", type(model).model_fields, f"{before or 'it'} has")


def _profile_named(model: BaseModel, name: str, value: Any, folders: Folders) -> Any:
    """Return the profile that *value* names if field *name* of *model* holds one, else *value*."""
    annotation = type(model).model_fields[name].annotation
    classes = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    profiles = [kind for kind in classes if issubclass(kind, Profile)]
    return profiles[0].load(value, folders) if profiles and isinstance(value, str) else value
