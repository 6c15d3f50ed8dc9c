import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from lbsim.cli.app import main
from lbsim.cli.profile_kinds import KINDS, names
from lbsim.profiles import catalog
from lbsim.profiles.hardware import Precision
from lbsim.scenario.plan import FusionPolicy
from lbsim.version import __version__

SMALL = ["--gpus", "16", "--model", "resnet50", "--cluster", "mn-1", "--software", "chainer-2017"]
SMALL += ["--batch-per-gpu", "32"]
KEYS = [
    *("throughput", "throughput_per_gpu", "step_time", "scaling_efficiency", "scaling_efficiency_vs_node"),
    *("time_to_train", "breakdown", "communication_time", "interval", "memory", "calibration", "scenario", "lbsim"),
]


@pytest.fixture
def lbsim(capsys):
    """Run the command line; return exit code, standard output and standard error."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def answer(lbsim):
    """Return the JSON that a prediction prints."""

    def predict(*arguments):
        code, output, error = lbsim("predict", *arguments, "--format", "json")
        assert (code, error) == (0, "")
        return json.loads(output)

    return predict


@pytest.fixture
def refuses(lbsim):
    """Check that a command ends with one line on standard error, and return that line."""

    def fault(*arguments):
        code, output, error = lbsim(*arguments)
        assert code == 2
        assert output == ""
        assert error.startswith("lbsim: ")
        assert error.count("\n") == 1
        assert "Traceback" not in error
        return error

    return fault


def shell(*arguments, **changes):
    """Run the command line as a process of its own, outside the checkout's folder."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | changes
    command = [sys.executable, "-m", "lbsim.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")


def test_help_starts_with_the_command_to_try_first(lbsim):
    code, output, _ = lbsim("--help")
    assert code == 0
    first = re.search(r"lbsim (?!\[).*", output)
    assert first
    assert first[0] == "lbsim predict --gpus 1024 --model resnet50"


def test_no_command_prints_help(lbsim):
    code, output, _ = lbsim()
    assert (code, output) == lbsim("--help")[:2]


def test_version_is_the_package_s(lbsim):
    assert lbsim("--version") == (0, f"lbsim {__version__}\n", "")


def test_help_names_every_precision_and_every_fusion(lbsim):
    _, output, _ = lbsim("predict", "--help")
    words = "".join(output.split())  # long choices are broken over lines
    assert "|".join(get_args(Precision)) in words
    assert all(policy in words for policy in get_args(FusionPolicy))


def test_table_says_what_was_assumed_and_answered(lbsim):
    code, output, error = lbsim("predict", *SMALL)
    assert (code, error) == (0, "")
    shown = {line[:26].strip(): line[26:].strip() for line in output.splitlines()}
    assert shown["cluster"] == "mn-1: 2 nodes of 8 GPUs"
    assert shown["batch"] == "32 per GPU, 512 in total"
    assert shown["precision"] == "fp32; gradients are sent as fp16"
    assert shown["all-reduce"] == "ring"
    assert "1 buffer" in shown["fusion"]
    assert shown["anchor"].startswith("none")
    for name in ("throughput", "step time", "efficiency vs one GPU", "efficiency vs one node", "90 epochs", "needed"):
        assert shown[name], name


def test_table_fits_80_columns(lbsim):
    _, output, _ = lbsim("predict", *SMALL)
    assert max(map(len, output.splitlines())) <= 80


def test_table_s_breakdown_adds_up_to_100_per_cent(lbsim):
    _, output, _ = lbsim("predict", *SMALL)
    shares = [float(share) for share in re.findall(r" ms +([\d.]+)%$", output, flags=re.MULTILINE)]
    *parts, total = shares
    assert total == 100
    assert sum(parts) == pytest.approx(100, abs=0.3)  # six shares rounded to 0.1


def test_table_says_that_an_anchor_was_used(lbsim):
    _, output, _ = lbsim("predict", *SMALL, "--anchor", "150 samples/s")
    assert "150.0 samples/s measured at 1 GPU" in output


def test_json_has_the_promised_keys(answer):
    content = answer(*SMALL)
    assert list(content) == KEYS
    assert list(content["interval"]) == ["level", *KEYS[:6]]
    assert sum(content["breakdown"].values()) == pytest.approx(content["step_time"])
    assert content["lbsim"] == __version__
    for quantity in KEYS[:6]:
        bounds = content["interval"][quantity]
        assert bounds["low"] <= content[quantity] <= bounds["high"]
    assert content["memory"]["total"] < content["memory"]["available"]


def test_one_gpu_scales_perfectly_and_communicates_nothing(answer):
    content = answer("--gpus", 1, *SMALL[2:])
    assert content["scaling_efficiency"] == 1
    assert content["communication_time"] == 0


def test_an_anchor_is_met_where_it_was_measured(answer):
    content = answer("--gpus", 1, *SMALL[2:], "--anchor", "150 samples/s")
    assert content["throughput"] == pytest.approx(150, rel=1e-6)  # the anchor's root is iterated


def test_rerun_from_json_gives_the_same_answer_to_the_byte(lbsim, tmp_path):
    changes = ["--set", "cluster.inter_node.bandwidth=10 Gb/s", "--anchor", "150 samples/s"]
    _, first, _ = lbsim("predict", *SMALL, *changes, "--format", "json")
    file = tmp_path / "answer.json"
    file.write_text(first)
    assert lbsim("predict", file, "--format", "json") == (0, first, "")


@pytest.mark.parametrize("name", names("clusters"))
def test_every_cluster_can_be_rerun(lbsim, tmp_path, name):
    _, first, _ = lbsim(
        "predict", "--gpus", 1, "--batch-per-gpu", 1, "--cluster", name, "--precision", "fp32", "--format", "json"
    )
    file = tmp_path / "answer.json"
    file.write_text(first)
    assert lbsim("predict", file, "--format", "json") == (0, first, "")


def test_options_override_the_file(answer, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text('[scenario]\ncluster = "mn-1"\n[scenario.plan]\ngpus = 8\nbatch_per_gpu = 16\n')
    content = answer(file, "--gpus", 16, "--set", "plan.epochs=10")
    plan = content["scenario"]["plan"]
    assert (plan["gpus"], plan["batch_per_gpu"], plan["epochs"]) == (16, 16, 10)
    assert content["scenario"]["cluster"]["name"] == "mn-1"


def test_a_file_may_name_a_profile_beside_it_and_an_option_one_where_the_user_is(answer, tmp_path, monkeypatch):
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder, nics in ((beside, 2), (here, 4)):
        folder.mkdir()
        (folder / "mine.toml").write_text(f'extends = "mn-1"\nnics = {nics}\n')
    (beside / "scenario.toml").write_text('[scenario]\ncluster = "mine.toml"\n[scenario.plan]\ngpus = 8\n')
    monkeypatch.chdir(here)
    file = beside / "scenario.toml"
    assert answer(file)["scenario"]["cluster"]["nics"] == 2
    assert answer(file, "--cluster", "mine.toml")["scenario"]["cluster"]["nics"] == 4


def test_own_profiles_are_found_by_name(answer, lbsim, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine.toml").write_text('source = "me"\nlatency = "1 us"\nbandwidth = "5 GB/s"\n')
    content = answer(*SMALL, "--profiles", tmp_path, "--set", "cluster.inter_node=mine")
    assert content["scenario"]["cluster"]["inter_node"]["bandwidth"] == "5 GB/s"
    assert "mine" in lbsim("profiles", "list", "links", "--profiles", tmp_path)[1]


def test_a_split_is_given_with_its_places(answer):
    content = answer(*SMALL, "--fusion", "split", "--set", "plan.fusion_split=76")
    assert content["scenario"]["plan"]["fusion_split"] == [76]


CYCLE = 'extends = "b.toml"\n', 'extends = "a.toml"\n'

FAULTS = {
    "no gpus": (["predict"], "lbsim predict --gpus 1024"),
    "gpus is no number": (["predict", "--gpus", "many"], "--gpus"),
    "no gpus at all": (["predict", "--gpus", "0"], "plan.gpus"),
    "unknown command": (["predct"], "predict"),
    "unknown option": (["predict", *SMALL, "--bath-per-gpu", "3"], "--batch-per-gpu"),
    "unknown model": (["predict", *SMALL, "--model", "resnet5"], "did you mean 'resnet50'?"),
    "unknown cluster": (["predict", "--gpus", "8", "--cluster", "mn1"], "did you mean 'mn-1'?"),
    "unknown software": (["predict", "--gpus", "8", "--software", "chainer"], "did you mean 'chainer-2017'?"),
    "unknown all-reduce": (["predict", *SMALL, "--all-reduce", "rign"], "did you mean 'ring'?"),
    "unknown precision": (["predict", *SMALL, "--precision", "fp8"], "'mixed'"),
    "unknown fusion": (["predict", *SMALL, "--fusion", "one"], "'one-buffer'"),
    "unknown format": (["predict", *SMALL, "--format", "yaml"], "'json'"),
    "split without places": (["predict", *SMALL, "--fusion", "split"], "plan.fusion_split=76"),
    "negative batch": (["predict", "--gpus", "8", "--batch-per-gpu", "-1"], "plan.batch_per_gpu"),
    "batch beyond memory": (["predict", "--gpus", "8", "--batch-per-gpu", "100000"], "or less"),
    "anchor without unit": (["predict", *SMALL, "--anchor", "218"], "'218 samples/s'"),
    "anchor of zero": (["predict", *SMALL, "--anchor", "0 samples/s"], "more than zero"),
    "no value": (["predict", *SMALL, "--set", "cluster.nics"], "PATH=VALUE"),
    "no unit": (["predict", *SMALL, "--set", "cluster.inter_node.bandwidth=25"], "'25 GB/s'"),
    "wrong unit": (["predict", *SMALL, "--set", "cluster.inter_node.bandwidth=25 ms"], "GB/s"),
    "negative": (["predict", *SMALL, "--set", "cluster.inter_node.bandwidth=-25 GB/s"], "more than zero"),
    "not a number": (["predict", *SMALL, "--set", "cluster.inter_node.bandwidth=nan GB/s"], "'25 GB/s'"),
    "share not a number": (["predict", *SMALL, "--set", "software.straggler_spread=nan"], "straggler_spread"),
    "bad path": (["predict", *SMALL, "--set", "cluster.inter_node.bandwith=1 GB/s"], "did you mean 'bandwidth'?"),
    "bad path at the top": (["predict", *SMALL, "--set", "gpus=8"], "plan"),
    "path below a number": (["predict", *SMALL, "--set", "cluster.nics.count=8"], "nics"),
    "missing scenario file": (["predict", "nowhere.toml"], "'nowhere.toml'"),
    "missing profile file": (["predict", "--gpus", "8", "--cluster", "nowhere.toml"], "nowhere.toml"),
    "missing profiles folder": (["predict", *SMALL, "--profiles", "nowhere"], "clusters"),
    "unknown kind": (["profiles", "list", "cluster"], "did you mean 'clusters'?"),
    "unknown profile": (["profiles", "show", "mn-2"], "did you mean 'mn-1'?"),
    "unknown profile of a kind": (["profiles", "show", "clusters/mn-2"], "did you mean 'mn-1'?"),
    "missing profile": (["profiles", "check", "nowhere.toml"], "nowhere.toml"),
    "missing cases": (["validate", "--cases", "nowhere"], "'nowhere'"),
    "no such case": (["validate", "--only", "no such text"], "'no such text'"),
}


@pytest.mark.parametrize(("arguments", "told"), FAULTS.values(), ids=FAULTS)
def test_wrong_input_gets_one_line_that_says_what_to_write(refuses, arguments, told):
    assert told in refuses(*arguments)


@pytest.mark.parametrize(
    ("content", "told"),
    {
        "no scenario": ("", "[scenario]"),
        "not TOML": ("[scenario]\ngpus\n", "line 2"),
        "not JSON": ('{"scenario": ', "line 1"),
        "no table": ("scenario = 3\n", "[scenario]"),
        "plan is no table": ("[scenario]\nplan = 3\n", "[scenario.plan]"),
        "unknown field": ('[scenario]\nmodle = "resnet50"\n[scenario.plan]\ngpus = 8\n', "'modle'"),
        "number without unit": ("[scenario]\nanchor = { throughput = 218 }\n[scenario.plan]\ngpus = 8\n", "samples/s"),
    }.values(),
)
def test_a_wrong_scenario_file_gets_one_line(refuses, tmp_path, content, told):
    file = tmp_path / "scenario.toml"
    file.write_text(content)
    assert told in refuses("predict", file)


def test_profiles_that_extend_each_other_are_refused(refuses, tmp_path):
    for name, text in zip("ab", CYCLE, strict=True):
        (tmp_path / f"{name}.toml").write_text(text)
    assert "extends itself" in refuses("predict", "--gpus", 8, "--cluster", tmp_path / "a.toml")


@pytest.mark.parametrize("kind", KINDS)
def test_list_names_all_of_a_kind_with_a_description_each(lbsim, kind):
    code, output, _ = lbsim("profiles", "list", kind)
    listed = dict(re.findall(r"^  (\S+)  +(\S.*)$", output, flags=re.MULTILINE))
    assert code == 0
    assert sorted(listed) == sorted(names(kind))


def test_list_without_a_kind_lists_every_kind(lbsim):
    _, output, _ = lbsim("profiles", "list")
    assert [line for line in output.splitlines() if re.match(r"\S", line)] == list(KINDS)


def test_list_shows_the_fault_of_an_invalid_profile(lbsim, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine.toml").write_text('source = "me"\nlatency = "1 us"\nbandwidth = 5\n')
    code, output, _ = lbsim("profiles", "list", "links", "--profiles", tmp_path)
    assert code == 0
    assert "not valid" in output


@pytest.mark.parametrize("kind", catalog.profile_kinds())
def test_what_show_prints_is_a_valid_profile_that_says_the_same(lbsim, tmp_path, kind):
    (tmp_path / kind).mkdir()
    for name in names(kind):
        _, shown, _ = lbsim("profiles", "show", f"{kind}/{name}")
        file = tmp_path / kind / f"{name}.toml"
        file.write_text(shown)
        assert lbsim("profiles", "check", file) == (0, f"{file}: ok ({kind})\n", "")
        assert lbsim("profiles", "show", f"{kind}/{name}", "--profiles", tmp_path) == (0, shown, "")


def test_show_has_units_and_source(lbsim):
    _, output, _ = lbsim("profiles", "show", "mn-1")
    assert re.search(r'^source = ".*Akiba', output, flags=re.MULTILINE)
    assert re.search(r'^memory = "\d+ GB"', output, flags=re.MULTILINE)


def test_show_knows_models_too(lbsim):
    _, output, _ = lbsim("profiles", "show", "resnet50")
    assert "parameters = 25557032" in output  # He et al.'s network, as torchvision counts it


def test_a_name_of_two_kinds_must_say_which(refuses, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mn-1.toml").write_text('source = "me"\nlatency = "1 us"\nbandwidth = "5 GB/s"\n')
    assert "clusters/mn-1, links/mn-1" in refuses("profiles", "show", "mn-1", "--profiles", tmp_path)


def test_check_tells_the_kind_from_the_fields(lbsim, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('source = "me"\nlatency = "1 us"\nbandwidth = "5 GB/s"\n')
    assert lbsim("profiles", "check", file) == (0, f"{file}: ok (links)\n", "")


def test_check_reports_each_fault_and_goes_on(lbsim, tmp_path):
    contents = {
        "good": 'source = "me"\nlatency = "1 us"\nbandwidth = "5 GB/s"\n',
        "unitless": 'source = "me"\nlatency = "1 us"\nbandwidth = 5\n',
        "unsourced": 'latency = "1 us"\nbandwidth = "5 GB/s"\n',
        "strange": 'colour = "red"\n',
        "cyclic": 'extends = "cyclic.toml"\nlatency = "1 us"\n',
    }
    files = [tmp_path / f"{name}.toml" for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_text(content)
    code, output, error = lbsim("profiles", "check", *files)
    assert code == 2
    assert output == f"{files[0]}: ok (links)\n"
    for line, told in zip(error.splitlines(), ("has no unit", "'source'", "fields", "extends itself"), strict=True):
        assert told in line


def test_piped_output_has_no_escape_codes_and_fits_80_columns():
    done = shell("predict", *SMALL, TERM="xterm-256color")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_fault_in_a_process_is_one_line_and_exit_code_2():
    done = shell("predict", "--gpus", "8", "--model", "resnet5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lbsim: no 'resnet5'")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_fault(tmp_path):
    command = f"'{sys.executable}' -m lbsim.cli.app profiles list | true"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.stderr == ""


def test_an_interrupt_exits_with_130(tmp_path):
    pipe = tmp_path / "case.toml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "lbsim.cli", "validate", "--cases", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    # the pipe opens when the command has begun to read
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process, pipe.open("w"):
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("lbsim predict --model resnet5", "resnet50"),
        ("lbsim predict --cluster mn", "mn-1"),
        ("lbsim predict --software chai", "chainer-2017"),
        ("lbsim predict --all-reduce halv", "halving-doubling"),
        ("lbsim profiles show mn", "mn-1"),
        ("lbsim profiles list clu", "clusters"),
    ],
)
def test_shells_complete_names(line, completed):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_LBSIM_COMPLETE": "complete_bash"}
    assert completed in shell(**words).stdout.split()
