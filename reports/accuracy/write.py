"""Accuracy tables of this folder's README and of the project's, generated from what the commands print.

    python reports/accuracy/write.py                 rewrite the tables, 2 to 4 minutes
    python reports/accuracy/write.py --skip-targets  the same without the tables of targets, some seconds
    python reports/accuracy/write.py --check         write nothing; exit 1 and name the files that are out of date

A table stands between ``<!-- begin: NAME -->`` and ``<!-- end -->``, an output after ``<!-- output: COMMAND -->``; all
other text is written by hand. `rows.csv` describes each row and has the figure as its source prints it.
"""

import argparse
import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[1]
PAGES = (FOLDER / "README.md", CHECKOUT / "README.md")
UNITS = {"ms": (1e-3, ".0f"), "min": (60.0, ".1f"), "h": (3600.0, ".1f"), "samples/s": (1.0, ",.0f")}
"""SI value and number format of each unit in which sources print a figure."""
RATIO = (1.0, ".3f")
"""The same for a figure without a unit."""
SYSTEM_CLASSES = (
    "seed efficiency",
    "seed time, anchored",
    "seed time, anchored at another batch",
    "seed time, not anchored",
    "seed time, fitted",
)
ONE_GPU_OF_A_SYSTEM = ("JIA-001", "JIA-002")
RECORDS = (
    ("HE-001", "seed time, not anchored"),
    ("GOY-001", "seed efficiency"),
    ("GOY-002", "seed time, anchored"),
    ("CHO-003", "seed efficiency"),
    ("AKB-001", "seed time, not anchored"),
    ("AKB-002", "seed efficiency"),
    ("YOU-003", "seed time, not anchored"),
    ("YOU-005", "seed time, anchored"),
    ("JIA-003", "seed efficiency"),
    ("JIA-005", "seed time, anchored"),
)
"""Id and class of the rows in the project's README: of each system its main figures, misses included."""
RECORD_CLASSES = ("seed efficiency", "seed time, anchored", "seed time, not anchored")
HEAD = ("system", "run", "row", "published", "predicted", "error", "in the interval")
SHORT_HEAD = ("system", "run", "published", "predicted", "error", "in interval")
OUTPUT = re.compile(r"(?P<head><!-- output: lbsim (?P<command>[^\n]*?) -->\n```text\n)(?P<shown>.*?)(?=```)", re.DOTALL)
MARK = re.compile(r"(?<=<!-- begin: )(?P<name>[^\n]+?) -->\n.*?(?=<!-- end -->)", re.DOTALL)

Case = Mapping[str, Any]
"""One case in the JSON of ``lbsim validate``."""


def printed(*arguments: str) -> str:
    """Return what ``python *arguments*`` prints on 80 columns, run in the checkout, without spaces at line ends."""
    command, environment = [sys.executable, *arguments], os.environ | {"COLUMNS": "80"}
    done = subprocess.run(command, check=True, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def validation(*options: str) -> Any:
    """Return the JSON of ``lbsim validate *options*``."""
    return json.loads(printed("-m", "lbsim.cli", "validate", *options, "--format", "json"))


def amount(value: float, unit: str) -> str:
    """Return *value*, in SI units, in *unit*; a ratio if *unit* is empty.

    >>> amount(3600.0, "min"), amount(0.7, "")
    ('60.0 min', '0.700')
    """
    si, form = UNITS.get(unit, RATIO)
    return f"{value / si:{form}} {unit}".strip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def descriptions() -> list[dict[str, str]]:
    """Return the rows of `rows.csv`."""
    with (FOLDER / "rows.csv").open() as file:
        return list(csv.DictReader(file))


def row(case: Case) -> tuple[str, ...]:
    """Return the cells of *case*."""
    return (case["system"], (text := described(case))["what"], case["id"], *figures(case, text["published"]))


def short_row(case: Case) -> tuple[str, ...]:
    """Return the cells of *case* in the project's README: at most 100 characters."""
    text, anchored = described(case), ", anchored" if case["anchored"] else ""
    return (case["system"].partition(",")[0], text["short"] + anchored, *figures(case, text["published"]))


def described(case: Case) -> Mapping[str, str]:
    """Return the row of `rows.csv` with the id and the figure of *case*; ValueError if it is not exactly one."""
    found = [
        one
        for one in descriptions()
        if one["id"] == case["id"] and amount(case["observed"], unit_of(one["published"])) == one["published"]
    ]
    if len(found) != 1:
        raise ValueError(f"{case['id']}, observed {case['observed']}: {len(found)} rows in rows.csv, not 1")
    return found[0]


def unit_of(published: str) -> str:
    """Return the unit of a published figure; an empty text for a ratio."""
    return published.partition(" ")[2]


def figures(case: Case, published: str) -> tuple[str, str, str, str]:
    """Return the published and the predicted figure of *case*, the error, and whether the interval holds it."""
    predicted = amount(case["predicted"], unit_of(published))
    return published, predicted, f"{case['relative_error']:+.1%}", "yes" if inside(case) else "no"


def inside(case: Case) -> bool:
    """Return whether the 90 % interval holds the observed figure."""
    return bool(case["low"] <= case["observed"] <= case["high"])


def mean_error(cases: Sequence[Case]) -> float:
    """Return the mean absolute relative error of *cases*."""
    return fmean(abs(case["relative_error"]) for case in cases)


def in_class(cases: Sequence[Case], name: str) -> list[Case]:
    """Return the *cases* of the class *name*."""
    return [case for case in cases if case["class"] == name]


def of_class(cases: Sequence[Case], name: str) -> str:
    """Return the table of the class *name*, sorted by system, after a line with its mean error."""
    chosen, held = in_class(cases, name), sum(map(inside, in_class(cases, name)))
    head = f"Mean error {mean_error(chosen):.1%}; {held} of {len(chosen)} inside the 90 % interval.\n\n"
    return head + table(HEAD, sorted((row(case) for case in chosen), key=lambda cells: cells[0]))


def one_gpu(cases: Sequence[Case]) -> str:
    """Return the rows of one GPU that a record system's source has."""
    return table(HEAD, (row(case) for case in cases if case["id"] in ONE_GPU_OF_A_SYSTEM))


def summary(cases: Sequence[Case]) -> str:
    """Return the mean and largest error and the coverage of each class."""
    rows = []
    for name in sorted({case["class"] for case in cases}):
        chosen = in_class(cases, name)
        fitted = sum(case["role"] == "calibrate" for case in chosen)
        largest = max(abs(case["relative_error"]) for case in chosen)
        bounded = [case for case in chosen if case["low"] is not None]  # parts of a step have no interval
        held = sum(map(inside, bounded)) / len(bounded)
        rows.append((name, str(len(chosen)), str(fitted), f"{mean_error(chosen):.1%}", f"{largest:.0%}", f"{held:.0%}"))
    return table(("class", "rows", "role `calibrate`", "mean error", "largest", "in the interval"), rows)


def records(cases: Sequence[Case]) -> str:
    """Return the ten rows of the project's README, and the mean error of all rows of their classes."""
    known = {(case["id"], case["class"]): case for case in cases}
    means = [mean_error(in_class(cases, name)) for name in RECORD_CLASSES]
    efficiencies, anchored, free = (f"{100 * mean:.1f} %" for mean in means)
    return (
        table(SHORT_HEAD, (short_row(known[key]) for key in RECORDS))
        + f"\nMean error over all rows: {efficiencies} for scaling efficiencies, {anchored} for anchored times,\n"
        f"{free} without an anchor.\n"
    )


def percent(value: float | None) -> str:
    """Return a share in per cent, with a decimal below 10 %."""
    if value is None:
        return ""
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def error_and_aim(value: float | None, aim: float | None) -> str:
    """Return an error, and its aim in brackets."""
    return percent(value) if aim is None else f"{percent(value)} ({100 * aim:g} %)"


def target_errors(targets: Sequence[Mapping[str, Any]]) -> str:
    """Return each target of errors: aim and result."""
    head = ("target", "what", "rows", "mean (aim)", "worst (aim)", "worst row", "verdict")
    chosen = [one for one in targets if one["share_aim"] is None]
    errors = [tuple(error_and_aim(one[key], one[f"{key}_aim"]) for key in ("mean", "worst")) for one in chosen]
    return table(
        head,
        ((*named(one), *cells, one["worst_id"], verdict(one)) for one, cells in zip(chosen, errors, strict=True)),
    )


def target_shares(targets: Sequence[Mapping[str, Any]]) -> str:
    """Return each target of shares: aim and result."""
    aim = "{:.0%} to {:.0%}".format
    rows = (
        (*named(one), percent(one["share"]), aim(*one["share_aim"]), verdict(one))
        for one in targets
        if one["share_aim"] is not None
    )
    return table(("target", "what", "rows", "share", "aim", "verdict"), rows)


def named(target: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the name of a target, what it is about, and the number of its rows."""
    outliers = f" and {target['outliers']} outliers" if target["outliers"] else ""
    how = f" ({target['how']})" if target["how"] else ""
    return target["target"], target["what"] + how, f"{target['rows']}{outliers}"


def verdict(target: Mapping[str, Any]) -> str:
    """Return whether the aim is reached."""
    if target["missing"]:
        return f"no number: {target['missing']}"
    return {None: "no aim", True: "**reached**", False: "missed"}[target["reached"]]


def reasons(targets: Sequence[Mapping[str, Any]]) -> str:
    """Return why targets are missed, one reason per target."""
    found = dict.fromkeys((one["target"], one["why"]) for one in targets if one["why"])
    return "".join(f"- **{target}**: {why}.\n" for target, why in found)


def epochs() -> str:
    """Return how well the epochs at the largest batch of each benchmark are predicted."""
    text = printed("reports/time_to_accuracy/validate.py").partition("\n\nAccuracy after")[0]
    return f"```text\n{text}\n```\n"


def tables(*, with_targets: bool) -> dict[str, Callable[[], str]]:
    """Return what writes each table, by name."""
    cases = validation()["cases"]
    found: dict[str, Callable[[], str]] = {
        "records": partial(records, cases),
        "one GPU": partial(one_gpu, cases),
        "classes": partial(summary, cases),
        "epochs": epochs,
    }
    for name in SYSTEM_CLASSES:
        found[name] = partial(of_class, cases, name)
    if with_targets:
        targets = validation("--targets")["targets"]
        found["targets: errors"] = partial(target_errors, targets)
        found["targets: shares"] = partial(target_shares, targets)
        found["targets: reasons"] = partial(reasons, targets)
    return found


def renewed(text: str, known: Mapping[str, Callable[[], str]]) -> str:
    """Return *text* with each marked table written again, less those of targets if they are not *known*."""

    def write(mark: re.Match[str]) -> str:
        name = mark["name"]
        skipped = name.startswith("targets") and name not in known
        return mark[0] if skipped else f"{name} -->\n{known[name]()}"

    return OUTPUT.sub(shown, MARK.sub(write, text))


def shown(block: re.Match[str]) -> str:
    """Return an output block with those paragraphs of the command's output that have the same first lines."""
    paragraphs = [part.split("\n") for part in printed("-m", "lbsim.cli", *shlex.split(block["command"])).split("\n\n")]
    titles = [part.partition("\n")[0] for part in block["shown"].strip().split("\n\n")]
    found = {paragraph[0]: "\n".join(paragraph) for paragraph in paragraphs}
    if missing := set(titles) - set(found):
        raise ValueError(f"lbsim {block['command']} prints no paragraph {missing}; it prints {list(found)}")
    return block["head"] + "\n\n".join(found[title] for title in titles) + "\n"


def main() -> int:
    """Rewrite or check the pages."""
    parser = argparse.ArgumentParser(description="Write the accuracy tables of the README files.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    parser.add_argument("--skip-targets", action="store_true", help="leave the tables of targets, which take minutes")
    arguments = parser.parse_args()
    known = tables(with_targets=not arguments.skip_targets)
    new = {page: renewed(page.read_text(), known) for page in PAGES}
    stale = [page for page, text in new.items() if text != page.read_text()]
    for page in stale:
        if not arguments.check:
            page.write_text(new[page])
        print(f"{page.relative_to(CHECKOUT)}: {'out of date; run this script' if arguments.check else 'written'}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
