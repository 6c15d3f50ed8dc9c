"""The README's commands and numbers are what the program prints."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbsim.cli.app import app
from lbsim.evaluation.validate import validate

README = (Path(__file__).parents[1] / "README.md").read_text()
OUTPUTS = re.findall(r"<!-- output: lbsim (.*?) -->\n```text\n(.*?)```", README, re.S)
ROWS = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| ([A-Z]+-\d+) \| ([^|]+) \| ([^|]+) \| ([-+][\d.]+%) \| (yes|no) \|$", README, re.M
)


@pytest.mark.parametrize(("command", "printed"), OUTPUTS, ids=[command for command, _ in OUTPUTS])
def test_the_output_it_shows_is_part_of_what_the_command_prints(command, printed):
    result = CliRunner().invoke(app, shlex.split(command), env={"COLUMNS": "80"})
    assert result.exit_code == 0
    lines = "\n".join(line.rstrip() for line in result.stdout.splitlines())
    assert printed.strip() in lines
    assert len(printed.splitlines()) > 10


def test_every_error_it_shows_is_what_validation_finds():
    found = {(result.observation.case.id, f"{result.relative_error:+.1%}") for result in validate().results}
    shown = {(row[2], row[5]) for row in ROWS}
    assert len(ROWS) > 40
    assert shown <= found


def test_no_observation_of_a_system_to_reproduce_is_left_out_of_it():
    results = validate(only="seed ").results
    systems = {(result.observation.case.id, f"{result.relative_error:+.1%}") for result in results}
    assert systems <= {(row[2], row[5]) for row in ROWS}
