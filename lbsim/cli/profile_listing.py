"""List of profiles, models and all-reduce algorithms, with one line of description each."""

from collections.abc import Iterator
from dataclasses import dataclass

from lbsim.accuracy.recipe import Recipe
from lbsim.calibration.calibration import Calibration
from lbsim.cli.profile_description import all_reduce_text, calibrated_text, describe, model_text
from lbsim.cli.profile_kinds import CALIBRATED_KINDS, KINDS, PROFILE_CLASSES, check_kind, names
from lbsim.errors import InputError
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.profiles.profile import Profile

__all__ = ["Entry", "entries"]


@dataclass(frozen=True)
class Entry:
    """One row of the list."""

    kind: str
    name: str
    description: str


def entries(kind: str = "", folders: Folders = SHIPPED, *, calibrated: bool = False) -> Iterator[Entry]:
    """Yield an entry for each name of *kind*, or of every kind if it is empty.

    With *calibrated*, only kinds that can hold fitted values are listed, and the description is what was fitted. The
    description of an invalid profile is its first error. Raises InputError for an unknown kind.
    """
    if kind:
        check_kind(kind, calibrated=calibrated)
    for each in [kind] if kind else CALIBRATED_KINDS if calibrated else KINDS:
        for name in names(each, folders):
            yield Entry(each, name, _description(each, name, folders, calibrated=calibrated))


def _description(kind: str, name: str, folders: Folders, *, calibrated: bool) -> str:
    try:
        if kind == "models":
            return model_text(name)
        if kind == "all-reduce":
            return all_reduce_text(name)
        profile = PROFILE_CLASSES[kind].load(name, folders)
        return calibrated_text(profile) if calibrated else _profile_text(profile)
    except InputError as error:
        return f"not valid: {error}"


def _profile_text(profile: Profile) -> str:
    if isinstance(profile, Calibration):
        fitted = ", ".join(dict.fromkeys(one.of for one in profile.fitted)) or "nothing"
        return f"{fitted}, fitted to {profile.observations} observations, mean error {profile.mean_error:.1%}"
    return profile.best if isinstance(profile, Recipe) else describe(profile)
