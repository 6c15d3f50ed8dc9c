import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import lbsim

PACKAGES = ("profiles", "workload", "scenario", "compute", "communication", "simulation")
TOP = ("atomic_write", "errors", "package_data", "signals", "temporary_file", "units", "version")


def public_modules():
    """Return the names of the modules without a leading underscore, which are not packages."""
    found = [f"lbsim.{name}" for name in TOP]
    for package in PACKAGES:
        path = importlib.import_module(f"lbsim.{package}").__path__
        modules = pkgutil.walk_packages(path, f"lbsim.{package}.")
        found += [module.name for module in modules if not module.ispkg and "._" not in module.name]
    return found


def defined(module):
    """Return the public names that the source of *module* defines at its top level."""
    names = set()
    for statement in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_lists_the_names_that_it_defines(name):
    module = importlib.import_module(name)
    assert {entry for entry in module.__all__ if not entry.startswith("_")} == defined(module)


def test_help_describes_every_public_name():
    for name in set(lbsim.__all__) - {"__version__"}:
        assert f"`{name}`" in lbsim.__doc__, name
        assert getattr(lbsim, name).__doc__, name
