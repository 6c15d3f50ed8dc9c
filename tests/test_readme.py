"""The numbers of the README and of the accuracy page are what the program prints."""

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbsim.cli.app import app, main

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text()
ACCURACY = (CHECKOUT / "reports" / "accuracy" / "README.md").read_text()
OUTPUTS = re.findall(r"<!-- output: lbsim (.*?) -->\n```text\n(.*?)```", README, re.S)
ROWS = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| ([A-Z]+-\d+) \| ([^|]+) \| ([^|]+) \| ([-+][\d.]+%) \| (yes|no) \|$", ACCURACY, re.M
)


@pytest.mark.parametrize(("command", "printed"), OUTPUTS, ids=[command for command, _ in OUTPUTS])
def test_the_output_it_shows_is_part_of_what_the_command_prints(command, printed):
    result = CliRunner().invoke(app, shlex.split(command), env={"COLUMNS": "80"})
    assert result.exit_code == 0
    lines = "\n".join(line.rstrip() for line in result.stdout.splitlines())
    assert printed.strip() in lines
    assert len(printed.splitlines()) > 10


def test_it_is_short():
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 100


def errors(*options):
    """Return the id and the error of each row that ``lbsim validate`` prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["validate", *options, "--format", "json"]) == 0
    return {(case["id"], f"{case['relative_error']:+.1%}") for case in json.loads(printed.getvalue())["cases"]}


def test_every_error_of_the_accuracy_page_is_what_validation_finds():
    found = errors()
    shown = {(row[2], row[5]) for row in ROWS}
    assert len(ROWS) > 40
    assert shown <= found


def test_no_observation_of_a_record_system_is_left_out_of_the_accuracy_page():
    systems = errors("--only", "seed ")
    assert len(systems) > 30
    assert systems <= {(row[2], row[5]) for row in ROWS}


def test_the_generated_tables_are_up_to_date():
    assert "<!-- begin: records -->" in README
    checked = write_accuracy("--check", "--skip-targets")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_the_tables_of_targets_are_up_to_date():
    assert "<!-- begin: targets: errors -->" in ACCURACY
    checked = write_accuracy("--check")
    assert checked.returncode == 0, checked.stdout


def write_accuracy(*options):
    command = [sys.executable, str(CHECKOUT / "reports" / "accuracy" / "write.py"), *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
