"""Module lookup by file name: algorithms of collectives, workloads, trace readers and figures.

There is no registry: a module in the package of its kind can be chosen by its name.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from lbsim.errors import unknown_name
from lbsim.package_data import PACKAGE

__all__ = ["PACKAGES", "find_module", "module_names"]

PACKAGES = {
    "all_gather": "communication.all_gather",
    "all_reduce": "communication.all_reduce",
    "all_to_all": "communication.all_to_all",
    "broadcast": "communication.broadcast",
    "figures": "report.figures",
    "readers": "measurements.readers",
    "reduce_scatter": "communication.reduce_scatter",
    "send_receive": "communication.send_receive",
    "workloads": "workload.models",
}
"""Sub-package of lbsim for each kind of module."""


def module_names(kind: str) -> list[str]:
    """Return the names of the public modules of *kind*, a key of `PACKAGES`.

    >>> "ring" in module_names("all_reduce")
    True
    """
    folder = PACKAGE.joinpath(*PACKAGES[kind].split("."))
    return sorted(name for _, name, _ in pkgutil.iter_modules([str(folder)]) if not name.startswith("_"))


@cache
def find_module(kind: str, name: str) -> ModuleType:
    """Return the module *name* of *kind*; dashes in the name stand for underscores.

    InputError, with the closest name, if there is no such module.
    """
    module_name, package = name.replace("-", "_"), PACKAGES[kind]
    if module_name not in module_names(kind):
        folder = f"lbsim/{package.replace('.', '/')}"
        raise unknown_name(name, folder, (found.replace("_", "-") for found in module_names(kind)))
    return import_module(f"lbsim.{package}.{module_name}")
