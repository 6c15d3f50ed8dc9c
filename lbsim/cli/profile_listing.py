"""What there is to choose from, shipped or the user's own: as a list, as TOML, and checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lbsim.accuracy.recipe import Recipe
from lbsim.calibration.calibration import Calibration
from lbsim.errors import InputError, from_validation_error, unknown_name
from lbsim.profiles import catalog
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.profiles.hardware import Accelerator, Cluster, Link
from lbsim.profiles.module_catalog import find_module, module_names
from lbsim.profiles.profile import Profile
from lbsim.profiles.software import Kernels, Library, Software
from lbsim.profiles.toml import table_to_toml
from lbsim.scenario.scenario import find_workload
from lbsim.uncertainty.residuals import Residuals
from lbsim.units import COMPUTE_RATE, DATA, DATA_RATE, TIME

_CLASSES: dict[str, type[Profile]] = {
    profile.kind: profile
    for profile in (Accelerator, Calibration, Cluster, Kernels, Library, Link, Recipe, Residuals, Software)
}
_MODULES = {"models": "workloads", "all-reduce": "all_reduce"}
"""Kinds that are not profiles but Python files, by the package that they stand in."""

KINDS = (*sorted(_CLASSES), *_MODULES)
CALIBRATED = ("accelerators", "clusters", "kernels", "libraries", "links", "software")
"""Kinds of which something can be fitted."""


@dataclass(frozen=True)
class Entry:
    """One thing to choose."""

    kind: str
    name: str
    description: str


def entries(kind: str = "", folders: Folders = SHIPPED, *, calibrated: bool = False) -> Iterator[Entry]:
    """Yield all that there is of *kind*, or of every kind; an invalid profile's description is its fault.

    *calibrated* describes instead what was fitted, of the kinds of which something can be.
    """
    if kind and kind not in KINDS:
        raise unknown_name(kind, "the kinds of profile", KINDS)
    if calibrated and kind and kind not in CALIBRATED:
        raise unknown_name(kind, "the kinds of which something can be calibrated", CALIBRATED)
    describing = calibration if calibrated else describe
    for one in [kind] if kind else CALIBRATED if calibrated else KINDS:
        for name in names(one, folders):
            yield Entry(one, name, _described(one, name, folders, describing))


def names(kind: str, folders: Folders = SHIPPED) -> list[str]:
    """Return the names of *kind*."""
    if kind in _MODULES:
        return [name.replace("_", "-") for name in module_names(_MODULES[kind])]
    return sorted(folders.files(kind))


def sheet(name: str, folders: Folders = SHIPPED) -> str:
    """Return what *name*, or *kind/name*, holds as TOML, with what it extends or refers to filled in."""
    kind, _, bare = name.rpartition("/")
    if kind and kind not in KINDS:
        raise unknown_name(kind, "the kinds of profile", KINDS)
    kinds = [one for one in ([kind] if kind else KINDS) if bare in names(one, folders)]
    if not kinds:
        there = {other for one in ([kind] if kind else KINDS) for other in names(one, folders)}
        raise unknown_name(bare, kind or "the profiles", there)
    if len(kinds) > 1:
        choices = ", ".join(f"{one}/{bare}" for one in kinds)
        raise InputError(f"'{bare}' is the name of more than one profile; write one of: {choices}")
    return table_to_toml(_table(kinds[0], bare, folders))


def check(file: Path, folders: Folders = SHIPPED) -> str:
    """Return the kind of profile that *file* holds, or raise InputError with its first fault."""
    if file.suffix != ".toml" or not file.is_file():
        raise InputError(f"{file}: no such file; a profile is a .toml file")
    kind = file.absolute().parent.name
    if kind in _CLASSES:
        # it may name others that stand in the folders beside its own
        folders = Folders((*folders.user, file.absolute().parents[1]))
    else:
        kind = _kind_of(file, catalog.read_toml(file))
    table = catalog.profile_table(kind, str(file.absolute()), folders)
    try:
        _CLASSES[kind].model_validate(table, context=folders)
    except ValidationError as error:
        raise from_validation_error(error, str(file)) from None
    return kind


def _kind_of(file: Path, table: Mapping[str, Any]) -> str:
    """Return the kind that has most of the fields of *table*, and fewest others."""
    common = set(Profile.model_fields)
    shared = {
        kind: len(set(table) & set(profile.model_fields) - common) / len(set(profile.model_fields) - common)
        for kind, profile in _CLASSES.items()
    }
    best = max(shared, key=lambda kind: shared[kind])
    if shared[best] == 0:
        raise InputError(f"{file}: no kind of profile has its fields; put it in a folder named: {', '.join(_CLASSES)}")
    return best


def _described(kind: str, name: str, folders: Folders, describing: Callable[[Profile], str]) -> str:
    try:
        if kind == "models":
            model = find_workload(name)
            return (
                f"{model.parameters / 1e6:,.1f} M parameters, {model.forward_flops / 1e9:,.1f} GFLOP forward a sample"
            )
        if kind == "all-reduce":
            return _first_sentence(name)
        return describing(_CLASSES[kind].load(name, folders))
    except InputError as error:
        return f"not valid: {error}"


def describe(profile: Profile) -> str:  # noqa: PLR0911 - one for each kind
    """Return *profile* in a few words."""
    match profile:
        case Accelerator():
            half = f", {COMPUTE_RATE.short(profile.peak.fp16, 3)} fp16" if profile.peak.fp16 else ""
            arithmetic = f"{profile.architecture}, {COMPUTE_RATE.short(profile.peak.fp32, 3)} fp32{half}"
            memory = f"{DATA.short(profile.memory, 3)} at {DATA_RATE.short(profile.memory_bandwidth, 3)}"
            return f"{arithmetic}, {memory}"
        case Link():
            bandwidth = f"{DATA_RATE.short(profile.bandwidth, 3)} at {profile.efficiency:.0%}"
            return f"{bandwidth}, latency {TIME.short(profile.latency, 2)}"
        case Cluster():
            nics = f"{profile.nics} x {profile.inter_node.name}"
            inside = f"{profile.gpus_per_node} x {profile.accelerator.name} a node"
            return f"{inside}, {profile.intra_node.name} inside, {nics} between"
        case Library():
            cost = f"{TIME.short(profile.per_collective, 2)} a collective"
            return f"{cost}, {TIME.short(profile.per_step, 2)} a step"
        case Software():
            return f"kernels of {profile.kernels.name}, communication by {profile.library.name}"
        case Calibration():
            of = ", ".join(dict.fromkeys(one.of for one in profile.fitted)) or "nothing"
            return f"{of}, fitted to {profile.observations} observations, mean error {profile.mean_error:.1%}"
        case _:
            return profile.best if isinstance(profile, Recipe) else profile.source


def calibration(profile: Profile) -> str:
    """Return what of *profile* was fitted, on what, and the error that remained; of a cluster, what of its parts."""
    if isinstance(profile, Cluster):
        parts = {"in a node": profile.intra_node, "between nodes": profile.inter_node}
        told = [f"{profile.accelerator.name}: {calibration(profile.accelerator)}"]
        told += [f"{where}, {link.name}: {calibration(link)}" for where, link in parts.items()]
        return ". ".join([profile.calibrated] if profile.calibrated else told)
    return profile.calibrated or "not said"


def _first_sentence(all_reduce: str) -> str:
    text = find_module("all_reduce", all_reduce).__doc__ or ""
    return " ".join(text.strip().split("\n\n")[0].split())


def _table(kind: str, name: str, folders: Folders) -> dict[str, Any]:
    if kind == "models":
        model = find_workload(name)
        return {
            "name": model.name,
            "source": model.source,
            "layers": len(model.layers),
            "tensors": len(model.tensors),
            "parameters": model.parameters,
            "forward": f"{model.forward_flops / 1e9:.4g} GFLOP/sample",
            "input": DATA.text(model.input_bytes),
            "samples": model.samples,
            "validation_samples": model.validation_samples,
        }
    if kind == "all-reduce":
        return {"name": name, "description": _first_sentence(name)}
    return _CLASSES[kind].load(name, folders).model_dump(mode="json", exclude_none=True)
