"""Kinds of things that a scenario can name: profiles (TOML files), models and all-reduce algorithms (modules)."""

from lbsim.accuracy.recipe import Recipe
from lbsim.calibration.calibration import Calibration
from lbsim.errors import unknown_name
from lbsim.profiles.catalog import SHIPPED, Folders
from lbsim.profiles.hardware import Accelerator, Cluster, Link
from lbsim.profiles.module_catalog import module_names
from lbsim.profiles.profile import Profile
from lbsim.profiles.software import Kernels, Library, Software
from lbsim.profiles.tuning import Tuning
from lbsim.uncertainty.residuals import Residuals

__all__ = ["CALIBRATED_KINDS", "KINDS", "MODULE_KINDS", "PROFILE_CLASSES", "check_kind", "names"]

PROFILE_CLASSES: dict[str, type[Profile]] = {
    profile.kind: profile
    for profile in (Accelerator, Calibration, Cluster, Kernels, Library, Link, Recipe, Residuals, Software, Tuning)
}
"""Class of each kind of profile, by the name of its folder."""

MODULE_KINDS = {"models": "workloads", "all-reduce": "all_reduce"}
"""Kinds that are Python modules: name on the command line, and kind in `lbsim.profiles.catalog`."""

KINDS = (*sorted(PROFILE_CLASSES), *MODULE_KINDS)
"""Every kind, in the order in which ``lbsim profiles list`` prints them."""

CALIBRATED_KINDS = ("accelerators", "clusters", "kernels", "libraries", "links", "software")
"""Kinds whose profiles can hold fitted values."""


def names(kind: str, folders: Folders = SHIPPED) -> list[str]:
    """Return the names of *kind* in *folders*, sorted."""
    if kind in MODULE_KINDS:
        return [name.replace("_", "-") for name in module_names(MODULE_KINDS[kind])]
    return sorted(folders.files(kind))


def check_kind(kind: str, *, calibrated: bool = False) -> None:
    """Raise InputError unless *kind* exists; if *calibrated*, unless its profiles can hold fitted values."""
    if kind not in KINDS:
        raise unknown_name(kind, "the kinds of profile", KINDS)
    if calibrated and kind not in CALIBRATED_KINDS:
        raise unknown_name(kind, "the kinds of profile that can be calibrated", CALIBRATED_KINDS)
