"""API reference: write docs/api.md from the signatures and docstrings of the public API.

    python docs/build_api.py           write docs/api.md
    python docs/build_api.py --check   write nothing; exit 1 if docs/api.md is out of date

`SECTIONS` lists what is public. griffe reads the source; a name that does not exist is an import error here.
"""

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import griffe

import lbsim.communication.all_reduce
from lbsim import Anchor, InputError, Prediction, Scenario, override, predict
from lbsim.analysis.explain import Explanation, explain
from lbsim.analysis.tune import Tuning, tune
from lbsim.calibration.calibrate import fit
from lbsim.calibration.calibration import Calibration, Fitted
from lbsim.communication.all_reduce import ring
from lbsim.communication.collective import Collective, Pattern, Phase
from lbsim.communication.fabric import Fabric
from lbsim.compute.memory import MemoryUse
from lbsim.evaluation.validate import Validation, validate
from lbsim.measurements.trace import Trace, read_trace, write_trace
from lbsim.profiles.hardware import Accelerator, Cluster, Link, Peak, RelativeSpeed, SlowPart, Switch
from lbsim.profiles.profile import Profile
from lbsim.profiles.software import Library, Software
from lbsim.scenario.plan import Plan
from lbsim.simulation.metrics import Breakdown
from lbsim.simulation.prediction import Interval, Range
from lbsim.workload.builder import Stack
from lbsim.workload.layers import Layer, Tensor, Workload

Public = Callable[..., Any] | ModuleType
SECTIONS: dict[str, tuple[Public, ...]] = {
    "Prediction": (predict, Prediction, Breakdown, Interval, Range, MemoryUse, InputError),
    "Scenario": (Scenario, Plan, Anchor, override),
    "Profiles": (Profile, Cluster, Accelerator, Peak, RelativeSpeed, Link, Switch, SlowPart, Software, Library),
    "Models": (Workload, Layer, Tensor, Stack),
    "Collectives": (lbsim.communication.all_reduce, ring.all_reduce, Collective, Phase, Pattern, Fabric),
    "Measurements and calibration": (Trace, read_trace, write_trace, fit, Calibration, Fitted),
    "Analysis": (explain, Explanation, tune, Tuning, validate, Validation),
}
CHECKOUT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("api.md")
HEAD = """\
# API reference

<!-- written by python docs/build_api.py; edit the docstrings -->

`lbsim` exports {exported}.
Import other names from the module given beside them.

Numbers are SI floats. A field of a type such as `Seconds`, `Bytes` or `BytesPerSecond` has that unit and, in text,
takes a quantity with its unit (`"2 us"`, `"64 MiB"`, `"100 Gb/s"`). An `Efficiency` is above 0 and at most 1, a `Share`
at least 0 and below 1, a `Factor` above 0. The [glossary](glossary.md) defines the words.
"""
LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}
WIDTH = 100
"""Columns of a signature before its parameters get a line each."""


def page() -> str:
    """Return the reference as Markdown."""
    package = griffe.load("lbsim", search_paths=[CHECKOUT])
    exported = ", ".join(f"`{name}`" for name in lbsim.__all__)
    parts = [HEAD.format(exported=exported)]
    for title, objects in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [entry(member(package, public)) for public in objects]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def member(package: Any, public: Public) -> Any:
    """Return griffe's object of *public*, from the module that defines it."""
    if isinstance(public, ModuleType):
        return package[public.__name__.partition(".")[2]]
    return package[f"{public.__module__}.{public.__qualname__}".partition(".")[2]]


def entry(found: Any) -> str:
    """Return the heading, the signature, the docstring and the members of one object."""
    if found.kind is griffe.Kind.MODULE:
        modules = (one for _, one in sorted(found.modules.items()))
        rows = "\n".join(f"- `{one.name}`: {one_line(one.docstring)}" for one in modules)
        return f"### Modules of `{found.path}`\n\n{prose(found.docstring)}\n\n{rows}\n"
    parts = [f"### `{found.name}`\n", f"*{found.kind.value}* in `{found.module.path}`{bases(found)}\n"]
    if found.is_function:
        parts.append(f"```python\n{signature(found)}\n```\n")
    parts.append(prose(found.docstring) + "\n")
    if found.is_class:
        parts += [fields(found), *(entry_of_method(one) for one in public_members(found) if one.is_function)]
    return "\n".join(part for part in parts if part.strip())


def bases(found: Any) -> str:
    """Return the base classes of a class in words."""
    names = [str(base) for base in getattr(found, "bases", [])]
    return f", a {' and '.join(f'`{name}`' for name in names)}" if names else ""


def public_members(found: Any) -> Iterator[Any]:
    """Yield the members of a class that users meet, in the order of the source."""
    for name, one in found.members.items():
        if (
            not name.startswith("_")
            and not one.is_alias
            and not validates(one)
            and name not in {"model_config", "kind"}
        ):
            yield one


def validates(one: Any) -> bool:
    """Return whether pydantic calls a method, and users do not."""
    return any("validator" in str(decorator.value) for decorator in getattr(one, "decorators", []))


def entry_of_method(method: Any) -> str:
    """Return a method: its signature and docstring."""
    return f"\n```python\n{signature(method)}\n```\n\n{prose(method.docstring)}\n"


def signature(function: Any) -> str:
    """Return a function's signature; over several lines if it is wide."""
    skipped = {"self", "cls"} if function.parent.is_class else set()
    parameters = list(arguments([one for one in function.parameters if one.name not in skipped]))
    owner = f"{function.parent.name}." if function.parent.is_class else ""
    returned = f" -> {bare(str(function.returns))}" if function.returns else ""
    text = f"{owner}{function.name}({', '.join(parameters)}){returned}"
    if len(text) <= WIDTH:
        return text
    lines = "".join(f"    {one},\n" for one in parameters)
    return f"{owner}{function.name}(\n{lines}){returned}"


def arguments(parameters: list[Any]) -> Iterator[str]:
    """Yield each parameter as in a signature, with the star before those that are keywords only."""
    stars = {"variadic positional": "*", "variadic keyword": "**"}
    keyword = False
    for one in parameters:
        kind = one.kind.value if one.kind else ""
        if kind == "keyword-only" and not keyword:
            keyword = True
            yield "*"
        star = stars.get(kind, "")
        annotation = f": {bare(str(one.annotation))}" if one.annotation else ""
        default = "" if star or one.default is None else f" = {one.default}"
        yield f"{star}{one.name}{annotation}{default}"


def fields(found: Any) -> str:
    """Return the attributes and properties of a class as a table."""
    rows = [row(one) for one in public_members(found) if one.is_attribute]
    if not rows:
        return ""
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def row(attribute: Any) -> str:
    """Return an attribute as a row of a table."""
    default, limits = default_of(str(attribute.value) if attribute.value else "")
    kind = bare(str(attribute.annotation)) if attribute.annotation else ""
    if "property" in attribute.labels:
        default = "*property*"
    meaning = " ".join(part for part in (one_line(attribute.docstring), limits, values(attribute, kind)) if part)
    return f"| `{attribute.name}` | {cell(f'`{kind}`')} | {cell(default)} | {cell(meaning)} |"


def default_of(value: str) -> tuple[str, str]:
    """Return the default and the limits that the right side of a field's definition gives.

    >>> default_of("Field(default=64, ge=1)"), default_of("Field(ge=1)"), default_of("'ring'")
    (('`64`', '≥ 1.'), ('', '≥ 1.'), ("`'ring'`", ''))
    """
    if not value.startswith("Field("):
        return (f"`{value}`" if value else ""), ""
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call):
        return f"`{value}`", ""
    given = {one.arg: ast.unparse(one.value) for one in call.keywords if one.arg}
    default = given.get("default") or (f"{given['default_factory']}()" if "default_factory" in given else "")
    limits = ", ".join(f"{sign} {given[name]}" for name, sign in LIMITS.items() if name in given)
    return f"`{default}`" if default else "", limits and f"{limits}."


def bare(annotation: str) -> str:
    """Return a type without what pydantic adds to it.

    >>> bare("Annotated[Link, by_name('links')] | None")
    'Link | None'
    """
    return ast.unparse(_Bare().visit(ast.parse(annotation.strip("'\""), mode="eval"))).replace("'", '"')


class _Bare(ast.NodeTransformer):
    """Puts the type in place of ``Annotated[type, ...]``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if ast.unparse(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
            inner: ast.AST = self.visit(node.slice.elts[0])
            return inner
        return self.generic_visit(node)


def values(attribute: Any, kind: str) -> str:
    """Return the values of a type that is the name of a ``Literal``."""
    name = kind.partition(" ")[0]
    if not name.isidentifier() or name not in {*attribute.module.members}:
        return ""
    alias = attribute.module[name]
    literal = str(getattr(alias.final_target if alias.is_alias else alias, "value", ""))
    return f"One of {literal[len('Literal[') : -1]}." if literal.startswith("Literal[") else ""


def cell(text: str) -> str:
    """Return *text* for a cell of a table."""
    return text.replace("|", "\\|")


def one_line(docstring: Any) -> str:
    """Return a docstring on one line."""
    return " ".join(prose(docstring).split())


def prose(docstring: Any) -> str:
    """Return a docstring as Markdown: formulas between dollars, examples in blocks, one back-tick around code."""
    if docstring is None:
        return ""
    text = docstring.value.replace("``", "`")
    text = re.sub(r":(?:math|ref|class|func):`([^`]+)`", r"$\1$", text)
    text = re.sub(r"^\.\. math:: *\n?((?:.+\n?)+)", lambda found: f"$${found[1].strip()}$$\n", text, flags=re.M)
    return re.sub(r"^>>> (?:.+\n?)+", lambda found: f"```python\n{found[0].rstrip()}\n```\n", text, flags=re.M).strip()


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description="Write docs/api.md from docstrings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if docs/api.md is out of date")
    arguments = parser.parse_args()
    text = page()
    if arguments.check:
        current = PAGE.exists() and PAGE.read_text() == text
        print("docs/api.md is up to date" if current else "docs/api.md is out of date; run python docs/build_api.py")
        return 0 if current else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
