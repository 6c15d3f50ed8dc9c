"""Modules found by file name: all-reduce algorithms, workloads, trace readers and figures."""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from lbsim.errors import unknown_name
from lbsim.package_data import PACKAGE

PACKAGES = {
    "all_reduce": "communication.all_reduce",
    "figures": "report.figures",
    "readers": "measurements.readers",
    "workloads": "workload.models",
}
"""The sub-package of lbsim that holds each kind of module, by kind."""


def module_names(kind: str) -> list[str]:
    """Return the modules of a kind such as ``all_reduce``, each one thing to choose.

    >>> "ring" in module_names("all_reduce")
    True
    """
    folder = PACKAGE.joinpath(*PACKAGES[kind].split("."))
    return sorted(name for _, name, _ in pkgutil.iter_modules([str(folder)]) if not name.startswith("_"))


@cache
def find_module(kind: str, name: str) -> ModuleType:
    """Return the module of *kind* that *name*, with dashes or underscores, means."""
    module_name, package = name.replace("-", "_"), PACKAGES[kind]
    if module_name not in module_names(kind):
        folder = f"lbsim/{package.replace('.', '/')}"
        raise unknown_name(name, folder, (found.replace("_", "-") for found in module_names(kind)))
    return import_module(f"lbsim.{package}.{module_name}")
