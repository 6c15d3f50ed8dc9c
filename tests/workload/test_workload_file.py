import json
import re

import pytest

from lbsim import Scenario, predict
from lbsim.cli.app import main
from lbsim.errors import InputError
from lbsim.profiles.module_catalog import module_names
from lbsim.scenario.scenario import find_workload
from lbsim.workload import workload_file

SMALL = """
format = "lbsim workload"
version = 1
name = "small"
source = "by hand"
input = "12 B"
samples = 100

[[layers]]
name = "fc"
kind = "linear"
forward_flops = 24
backward_flops = 24
forward_elements = 7
backward_elements = 14
saved_elements = 3
tensors = [{ name = "fc.weight", elements = 12 }, { name = "fc.bias", elements = 4, adapted = false }]
"""


@pytest.fixture
def small(tmp_path):
    """Return a model file that was written by hand."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


@pytest.mark.parametrize("name", module_names("workloads"))
def test_a_written_workload_is_read_back_equal(tmp_path, name):
    file = tmp_path / "model.json"
    file.write_text(workload_file.workload_to_json(find_workload(name)))
    assert workload_file.read_workload(file) == find_workload(name)


def test_a_file_has_a_line_per_layer_and_the_order_of_gradients():
    text = workload_file.workload_to_json(find_workload("vgg16"))
    assert len(re.findall(r'^    \{"name": "conv', text, flags=re.MULTILINE)) == 13  # Simonyan and Zisserman, D
    gradients = json.loads(text)["gradients"]
    assert (gradients[0], gradients[-1]) == ("fc8.bias", "conv1_1.weight")


def test_a_workload_file_may_be_toml(small):
    model = workload_file.read_workload(small)
    assert model.parameters == 16
    assert [tensor.name for tensor in model.tensors] == ["fc.bias", "fc.weight"]


def test_a_file_gives_the_prediction_of_its_model(tmp_path):
    file = tmp_path / "model.json"
    file.write_text(workload_file.workload_to_json(find_workload("resnet50")))
    ours, theirs = (predict(Scenario.of(gpus=64, model=model)) for model in (str(file), "resnet50"))
    assert ours.step_time == theirs.step_time


def test_a_file_that_changes_is_read_again(small):
    assert workload_file.read_workload(small).samples == 100
    small.write_text(SMALL.replace("samples = 100", "samples = 2000"))
    assert workload_file.read_workload(small).samples == 2000


def test_a_model_path_is_relative_to_its_file_or_for_an_option_to_the_working_folder(
    small, tmp_path, monkeypatch, capsys
):
    scenario, here = tmp_path / "scenario.toml", tmp_path / "here"
    scenario.write_text('[scenario]\nmodel = "small.toml"\n[scenario.plan]\ngpus = 8\n')
    here.mkdir()
    (here / "mine.toml").write_text(SMALL)
    monkeypatch.chdir(here)
    for options, file in (([], small), (["--model", "mine.toml"], here / "mine.toml")):
        assert main(["predict", str(scenario), *options, "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["scenario"]["model"] == str(file)


def test_a_rerun_without_its_model_file_is_refused(small, tmp_path, capsys):
    main(["predict", "--gpus", "8", "--model", str(small), "--format", "json"])
    answer = tmp_path / "answer.json"
    answer.write_text(capsys.readouterr().out)
    small.unlink()
    assert main(["predict", str(answer)]) == 2
    assert capsys.readouterr().err == f"lbsim: no model file '{small}'; write one with lbsim workload trace\n"


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    {
        "unknown field": ("samples = 100", "samples = 100\nimages = 3", "'images'"),
        "other format": ('"lbsim workload"', '"onnx"', "format"),
        "other version": ("version = 1", "version = 2", "version"),
        "no unit": ('"12 B"', "12", "input: 12 has no unit"),
        "no samples": ("samples = 100", "samples = 0", "samples"),
        "unknown kind": ('"linear"', '"dense"', "layers.0.kind"),
        "negative": ("forward_flops = 24", "forward_flops = -24", "layers.0.forward_flops"),
        "not finite": ("forward_flops = 24", "forward_flops = inf", "layers.0.forward_flops"),
        "empty tensor": ("elements = 12", "elements = 0", "layers.0.tensors.0.elements"),
        "twice": ('"fc.bias"', '"fc.weight"', "two tensors are named 'fc.weight'"),
        "wrong sum": ("samples = 100", "samples = 100\nparameters = 15", "add up to 16"),
        "wrong work": ("samples = 100", "samples = 100\nforward_flops = 25", "add up to 24"),
        "wrong order": ("samples = 100", 'samples = 100\ngradients = ["fc.weight", "fc.bias"]', "gradients"),
        "not TOML": ("samples = 100", "samples", "line"),
    }.values(),
)
def test_an_invalid_file_is_refused_with_its_name_and_field(small, capsys, was, becomes, told):
    small.write_text(SMALL.replace(was, becomes))
    with pytest.raises(InputError, match=re.escape(told)) as fault:
        workload_file.read_workload(small)
    assert str(fault.value).startswith(f"{small}: ")
    assert main(["predict", "--gpus", "8", "--model", str(small)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_that_is_not_json_is_refused_in_one_line(tmp_path, capsys):
    file = tmp_path / "model.json"
    for content in ("{", "[]", "\x00"):
        file.write_text(content)
        assert main(["predict", "--gpus", "8", "--model", str(file)]) == 2
        assert capsys.readouterr().err.startswith(f"lbsim: {file}: ")
