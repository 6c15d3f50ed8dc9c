"""Lines that lbsim prints to be pasted into a shell or into Python: run or parsed there, with hostile names."""

import ast
import itertools
import json
import os
import re
import shlex
import subprocess
from html import unescape

import pytest
import typer.main

from lbsim import Scenario
from lbsim.analysis import tune
from lbsim.cli.app import app, main
from lbsim.cli.commands.report import _command
from lbsim.report import Report, ReportScenarios, labelled, write
from lbsim.scenario.plan import Plan
from tests.accuracy.test_noise_scale_law import MODEL, a_run

HOSTILE = ("mlp; touch PWNED #", "run $(touch PWNED);y", "`touch PWNED`", "a'b\"c\\!", "--help", "a\n touch PWNED\n")


def words_run(line, program, folder):
    """Return the words with which bash, in *folder*, calls *program* for *line*; nothing else may happen."""
    folder.mkdir()
    script = f'{program}() {{ printf "%s\\0" "$@"; }}\n{line}\n'
    environment = {"PATH": os.environ["PATH"], "NODE": "3", "FIRST": "host-0"}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    assert list(folder.iterdir()) == []
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def value_of(option, words):
    """Return the value of *option* among *words*."""
    joined = [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    return joined[0] if joined else words[words.index(option) + 1]


def planned(capsys, *arguments):
    assert main(["plan", "--target", "97%", "--gpus", "16", *map(str, arguments)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", HOSTILE)
def test_the_command_of_a_plan_runs_nothing_but_the_harness(name, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(MODEL)
    run = a_run(tmp_path / name.lstrip("-"), model=name, schedule=name)
    arguments = ["--model", tmp_path / "mine.toml", "--noise-scale", run]
    command = json.loads(planned(capsys, *arguments, "--format", "json"))["command"]
    assert command in planned(capsys, *arguments).splitlines()  # one line, not wrapped
    words = words_run(command, "torchrun", tmp_path / "empty")
    assert words[:6] == ["--nnodes", "2", "--node-rank", "3", "--master-addr", "host-0"]
    assert value_of("--model", words) == value_of("--schedule", words) == name
    assert value_of("--output", words).startswith(run.name.strip())


def test_the_command_of_a_published_recipe_is_one_line(capsys):
    arguments = ["plan", "--target", "75%", "--gpus", "64", "--model", "resnet50"]
    assert main(arguments) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("torchrun"))
    assert main([*arguments, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["command"] == line
    assert value_of("--optimizer", shlex.split(line)) == "lars"


def reported(arguments):
    command = typer.main.get_command(app)
    report = command.get_command(None, "report")  # type: ignore[attr-defined]  # typer's class is not public
    return _command(report.make_context("report", arguments, None))


@pytest.mark.parametrize("name", HOSTILE)
def test_the_command_of_a_report_is_the_command_that_was_given(name, tmp_path):
    given = [f"--out=d/{name}", "--gpus", "16", "--cluster", "mn-1", f"--with={name}", f"--software={name}"]
    words = words_run(reported(given), "lbsim", tmp_path / "empty")
    assert words[0] == "report"
    for option, value in (("--out", f"d/{name}"), ("--with", name), ("--software", name), ("--gpus", "16")):
        assert value_of(option, words) == value


def test_the_page_of_a_report_has_the_command_as_it_is_to_be_pasted(tmp_path):
    command = reported([f"--with={HOSTILE[1]}", "--price", "2 USD"])
    write(Report("A title", ReportScenarios(labelled([Scenario.of(gpus=1)])), command, ("step_time",)), tmp_path / "r")
    shown = re.search(r"<code>(.*?)</code>", (tmp_path / "r" / "index.html").read_text())
    assert shown
    assert unescape(shown[1]) == command
    assert value_of("--with", words_run(unescape(shown[1]), "lbsim", tmp_path / "empty")) == HOSTILE[1]


@pytest.mark.parametrize("name", HOSTILE)
def test_the_next_command_after_a_trace_names_the_file(name, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    out = f"{name}.json"
    traced = ["workload", "trace", "tests.harness.odd_models:plain", "--input", "1x8x8", f"--out={out}"]
    assert main(traced) == 0
    line = capsys.readouterr().out.splitlines()[1].removeprefix("Next:  ")
    words = words_run(line, "lbsim", tmp_path / "empty")
    assert value_of("--model", words) == out
    assert main(words) == 0


@pytest.mark.parametrize(
    ("command", "suffix"),
    [(["calibrate", "none.txt"], ".toml"), (["workload", "trace", "a:b", "--input", "1"], ".json")],
)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_suggested_option_is_quoted(command, suffix, name, tmp_path, capsys):
    assert main([*command, f"--out={name}.txt"]) == 2
    error = capsys.readouterr().err.removesuffix("\n")
    suggested = error.partition("write e.g. ")[2]
    assert value_of("--out", words_run(f"lbsim {suggested}", "lbsim", tmp_path / "empty")) == f"{name}{suffix}"


PLANS = [
    Plan(gpus=8, fusion=fusion, all_reduce=all_reduce, communication_precision=precision)
    for fusion, all_reduce, precision in itertools.product(
        ("one-buffer", "ddp", "threshold", "mg-wfbp"), ("ring", "double-binary-tree", "hierarchical"), ("fp16", "fp32")
    )
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.fusion} {plan.all_reduce} {plan.gradient_precision}")
def test_each_setting_of_each_plan_is_python_or_an_environment_variable(plan):
    for setting in tune._settings(plan):
        if tune._VARIABLE.match(setting):
            name, value = shlex.split(f"export {setting}")[1].split("=")
            assert name
            assert value
        else:
            assert len(ast.parse(setting).body) == 1


def test_the_lines_of_tune_are_pasted_as_they_are_printed(capsys):
    arguments = ["tune", "--gpus", "16", "--cluster", "hkbu-10gbe", "--software", "horovod-pytorch"]
    assert main([*arguments, "--precision", "fp32"]) == 0
    text = capsys.readouterr().out
    variables = text.partition("\nEnvironment\n")[2].partition("\n\n")[0]
    code = text.partition("\nPython\n")[2]
    assert main([*arguments, "--precision", "fp32", "--format", "json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert sorted([*variables.replace("export ", "").splitlines(), *code.splitlines()]) == sorted(settings)
    assert len(ast.parse(code).body) == len(code.splitlines())
    assert any(len(line) > 80 for line in code.splitlines())  # longer than a table is wide
    printed = subprocess.run(["sh", "-c", f"{variables}\nenv"], capture_output=True, text=True, check=True).stdout
    assert set(variables.replace("export ", "").splitlines()) <= set(printed.splitlines())
