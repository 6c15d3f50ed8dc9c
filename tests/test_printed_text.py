import csv
import io
import shlex
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.printed_text import command_line, escaped, option, shortened, spreadsheet_cell
from tests.hostile_names import NAMES, names, takes_effect

words = st.lists(names.map(lambda name: name.replace("\0", "")), min_size=1)


def words_of(shell, line):
    """Return the words into which *shell* splits *line*."""
    done = subprocess.run([shell, "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@given(words)
def test_bash_splits_a_command_into_the_same_words(given):
    line = command_line(given)
    assert "\n" not in line
    assert words_of("bash", line) == given


@pytest.mark.parametrize("shell", [shell for shell in ("bash", "zsh", "ksh", "dash") if shutil.which(shell)])
@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable()])
def test_every_shell_splits_printable_words_alike(shell, name):
    assert words_of(shell, command_line(["lbsim", name])) == ["lbsim", name]
    assert shlex.split(command_line(["lbsim", name])) == ["lbsim", name]


@given(names)
def test_an_escaped_text_is_one_line_without_effect(name):
    assert not takes_effect(escaped(name))
    assert "\n" not in escaped(name)
    assert escaped(escaped(name)) == escaped(name)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_not_changed(text):
    assert escaped(text) == text


@given(names)
def test_no_cell_is_a_formula_and_every_cell_is_read_back(name):
    cell = spreadsheet_cell(name)
    assert not cell.lstrip().startswith(("=", "+", "-", "@")) or cell.lstrip("+-")[0] in ".0123456789"
    sheet = io.StringIO()
    csv.writer(sheet).writerow([cell])
    assert next(csv.reader(io.StringIO(sheet.getvalue()))) == [cell]
    assert cell.removeprefix("'") == escaped(name).removeprefix("'")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_stays_a_number(number):
    assert spreadsheet_cell(repr(number)) == repr(number)


@given(names, st.integers(3, 50))
def test_a_shortened_text_has_the_same_ends(name, most):
    cut = shortened(name, most)
    assert len(cut) <= most
    assert cut == name or (len(cut) == most and name.startswith(cut[: most // 2]) and cut[most // 2] == "…")


def test_a_value_that_looks_like_an_option_stays_a_value():
    assert option("--model", "--help") == ["--model=--help"]
    assert option("--rate", "0.1") == ["--rate", "0.1"]
