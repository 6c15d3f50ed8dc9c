"""Complete profiles as TOML (``lbsim profiles show``), and checks of profile files (``lbsim profiles check``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lbsim.cli.profile_description import all_reduce_text
from lbsim.cli.profile_kinds import KINDS, PROFILE_CLASSES, check_kind, names
from lbsim.errors import InputError, from_validation_error, unknown_name
from lbsim.profiles import catalog
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.profiles.profile import Profile
from lbsim.profiles.toml import table_to_toml
from lbsim.scenario.scenario import find_workload
from lbsim.units import DATA

__all__ = ["check", "profile_toml"]


def profile_toml(name: str, folders: Folders = SHIPPED) -> str:
    """Return the profile, model or algorithm *name* as TOML, with everything that it extends or refers to filled in.

    *name* is a bare name, or ``kind/name`` where several kinds have it. Raises InputError for a name that is unknown,
    ambiguous or invalid.
    """
    kind, _, bare = name.rpartition("/")
    if kind:
        check_kind(kind)
    searched = [kind] if kind else KINDS
    found = [each for each in searched if bare in names(each, folders)]
    if not found:
        raise unknown_name(bare, kind or "the profiles", {other for each in searched for other in names(each, folders)})
    if len(found) > 1:
        choices = ", ".join(f"{each}/{bare}" for each in found)
        raise InputError(f"'{bare}' is the name of more than one profile; write one of: {choices}")
    return table_to_toml(_table(found[0], bare, folders))


def _table(kind: str, name: str, folders: Folders) -> dict[str, Any]:
    if kind == "models":
        return _model_table(name)
    if kind == "all-reduce":
        return {"name": name, "description": all_reduce_text(name)}
    return PROFILE_CLASSES[kind].load(name, folders).model_dump(mode="json", exclude_none=True)


def _model_table(name: str) -> dict[str, Any]:
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


def check(file: Path, folders: Folders = SHIPPED) -> str:
    """Return the kind of profile that *file* holds, or raise InputError with its first error.

    The name of the file's folder gives the kind; if no kind has that name, the fields of the file do.
    """
    if file.suffix != ".toml" or not file.is_file():
        raise InputError(f"{file}: no such file; a profile is a .toml file")
    kind = file.absolute().parent.name
    if kind in PROFILE_CLASSES:
        # the profile may refer to others in the folders beside its own
        folders = Folders((*folders.user, file.absolute().parents[1]))
    else:
        kind = _kind_of(file, catalog.read_toml(file))
    table = catalog.profile_table(kind, str(file.absolute()), folders)
    try:
        PROFILE_CLASSES[kind].model_validate(table, context=folders)
    except ValidationError as error:
        raise from_validation_error(error, str(file)) from None
    return kind


def _kind_of(file: Path, table: Mapping[str, Any]) -> str:
    """Return the kind of which *table* has the largest share of the fields."""
    common = set(Profile.model_fields)
    shares = {
        kind: len(set(table) & set(profile.model_fields) - common) / len(set(profile.model_fields) - common)
        for kind, profile in PROFILE_CLASSES.items()
    }
    best = max(shares, key=lambda kind: shares[kind])
    if shares[best] == 0:
        kinds = ", ".join(PROFILE_CLASSES)
        raise InputError(f"{file}: its fields match no kind of profile; put it in a folder named after one of: {kinds}")
    return best
