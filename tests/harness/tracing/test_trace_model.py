import json
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="torch is missing; pip install 'lbsim[harness]'")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402  # after the skip

from lbsim import Scenario, predict  # noqa: E402
from lbsim.cli.app import main  # noqa: E402
from lbsim.errors import InputError  # noqa: E402
from lbsim.harness.tracing.trace_model import trace  # noqa: E402
from lbsim.scenario.scenario import find_workload  # noqa: E402
from lbsim.workload import workload_file  # noqa: E402
from tests.harness import models  # noqa: E402

MODELS = "tests.harness.models"
SEQUENCE = ("128:int32", "128:int32", "128:int32", "20:int64")
BUILT_IN = {"ResNet50": ("resnet50", ("3x224x224",)), "Bert": ("bert-base", SEQUENCE)}


@cache
def traced(model, *inputs):
    return trace(f"{MODELS}:{model}", inputs, samples=1).workload


def layer(model, name):
    return next(layer for layer in model.layers if layer.name == name)


@pytest.mark.parametrize(("model", "built_in", "inputs"), [(name, *how) for name, how in BUILT_IN.items()])
def test_a_traced_model_has_the_parameters_and_gradients_of_the_built_in_one(model, built_in, inputs):
    ours, theirs = traced(model, *inputs), find_workload(built_in)
    assert ours.parameters == theirs.parameters
    assert [(one.elements, one.adapted) for one in ours.tensors] == [
        (one.elements, one.adapted) for one in theirs.tensors
    ]


@pytest.mark.parametrize(("model", "built_in", "inputs"), [(name, *how) for name, how in BUILT_IN.items()])
def test_a_traced_model_has_the_work_of_the_built_in_one(model, built_in, inputs):
    ours, theirs = traced(model, *inputs), find_workload(built_in)
    for amount in ("forward_flops", "backward_flops", "forward_elements", "backward_elements", "saved_elements"):
        of_ours, of_theirs = (sum(getattr(layer, amount) for layer in one.layers) for one in (ours, theirs))
        assert of_ours == pytest.approx(of_theirs, rel=0.01), amount  # the 1 %


@pytest.mark.parametrize(
    ("model", "built_in", "inputs"),
    [*((name, *how) for name, how in BUILT_IN.items()), ("spelt_out_bert", "bert-base", SEQUENCE)],
)
@pytest.mark.parametrize("software", ["pytorch-nccl", "ngc-tensorflow-xla"])
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_a_traced_model_is_predicted_as_the_built_in_one(  # noqa: PLR0917  # pytest passes them by name
    tmp_path, model, built_in, inputs, software, precision
):
    file = tmp_path / "model.json"
    file.write_text(workload_file.workload_to_json(traced(model, *inputs)))
    how = {"cluster": "dgx-1-v100", "software": software, "precision": precision, "batch_per_gpu": 32}
    ours, theirs = (predict(Scenario.of(gpus=64, model=name, **how)) for name in (str(file), built_in))
    assert ours.step_time == pytest.approx(theirs.step_time, rel=0.02)  # spelt-out attention scales and copies more


@pytest.mark.parametrize(("model", "shapes"), [("ResNet50", [(3, 224, 224)]), ("Odds", [(3, 16, 16)])])
def test_operations_are_those_that_torch_counts(model, shapes):
    inputs = ["x".join(map(str, shape)) for shape in shapes]
    with torch.device("cpu"):
        network = getattr(models, model)()
    with torch.device("meta"):
        batches = [torch.zeros((2, *shape)) for shape in shapes]
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(*batches)
    assert traced(model, *inputs).forward_flops == pytest.approx(counter.get_total_flops() / 2)


def test_residual_networks_are_the_built_in_one_layer_by_layer():
    ours, theirs = traced("ResNet50", "3x224x224"), find_workload("resnet50")
    for mine, built_in in zip(ours.layers, theirs.layers, strict=True):
        for amount in ("kind", "forward_flops", "backward_flops", "forward_elements", "saved_elements", "kernels"):
            assert getattr(mine, amount) == getattr(built_in, amount), (mine.name, amount)
        assert (mine.channels, mine.square, mine.fusible) == (built_in.channels, built_in.square, built_in.fusible)


def test_the_first_layer_computes_no_gradient_of_its_input():
    conv = traced("Odds", "3x16x16").layers[0]
    assert conv.backward_flops == conv.forward_flops == 2 * 12 * 9 * 16 * 16  # a channel a group
    assert (conv.channels, conv.square) == ((1, 4), False)


def test_frozen_and_unused_weights_are_left_out_and_the_unused_are_told():
    found = trace(f"{MODELS}:Odds", ["3x16x16"], samples=1)
    assert found.unused == ["unused.weight", "unused.bias"]
    names = {tensor.name for tensor in found.workload.tensors}
    assert not [name for name in names if name.startswith(("frozen", "unused"))]
    frozen = layer(found.workload, "frozen")
    assert frozen.backward_flops == frozen.forward_flops  # of its input alone


def test_scales_and_biases_are_not_adapted():
    tensors = {tensor.name: tensor.adapted for tensor in traced("Odds", "3x16x16").tensors}
    assert {name for name, adapted in tensors.items() if adapted} == {
        *("depthwise.weight", "grouped.weight", "gate.weight", "heads.in_proj_weight", "heads.out_proj.weight")
    }


def test_weights_used_at_each_step_count_once_and_work_at_each():
    model = traced("Recurrent", "5x8")
    assert model.parameters == 4 * 16 * (8 + 16 + 2)  # the four gates
    assert model.forward_flops == 2 * 4 * 16 * (5 * 8 + 4 * 16)  # the first state is no activation but zeros


def test_tied_weights_are_one_tensor_whose_gradient_is_ready_last():
    model = traced("Tied", "6:int64")
    assert [(tensor.name, tensor.elements) for tensor in model.tensors] == [("embedding.weight", 800)]
    assert model.layers[0].tensors
    assert layer(model, "decoder").forward_flops == 2 * 6 * 8 * 100


def test_inputs_may_be_told_by_name():
    assert traced("Tied", "words=6:int64").layers == traced("Tied", "6:int64").layers


def test_a_sample_is_copied_as_it_is_fed():
    assert traced("Tied", "6:int64").input_bytes == 6 * 8


def test_the_command_writes_a_file_that_predict_takes_and_can_rerun(tmp_path, capsys):
    file, answer = tmp_path / "odds.json", tmp_path / "answer.json"
    assert main(["workload", "trace", f"{MODELS}:Odds", "--input", "3x16x16", "--out", str(file)]) == 0
    output, error = capsys.readouterr()
    assert f"lbsim predict --gpus 64 --model {file}" in output
    assert error == "lbsim: omitted, because forward does not use them: unused.weight, unused.bias\n"
    assert main(["predict", "--gpus", "8", "--model", str(file), "--format", "json"]) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["scenario"]["model"] == str(file)
    answer.write_text(first)
    assert main(["predict", str(answer), "--format", "json"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("target", "inputs", "told"),
    {
        "no callable": (MODELS, ["3"], "my_models:resnet18"),
        "no module": ("nowhere:Model", ["3"], "cannot import 'nowhere'"),
        "no such name": (f"{MODELS}:ResNet5", ["3"], "did you mean 'ResNet50'?"),
        "no model": (f"{MODELS}:torch.get_num_threads", ["3"], "returned a int"),
        "arguments missing": (f"{MODELS}:Bottleneck", ["3"], "missing 3 required positional arguments"),
        "no shape": (f"{MODELS}:ResNet50", ["3*224"], "3x224x224"),
        "no type": (f"{MODELS}:ResNet50", ["3:int65"], "'int65'"),
        "empty": (f"{MODELS}:ResNet50", ["0x3"], "a dimension is 0"),
        "wrong shape": (f"{MODELS}:ResNet50", ["4x224x224"], "does not run on [2, 4, 224, 224]"),
        "needs values": (f"{MODELS}:needs_values", ["4"], "meta"),
    }.values(),
)
def test_what_cannot_be_traced_gets_one_line(target, inputs, told, capsys):
    with pytest.raises(InputError) as fault:
        trace(target, inputs, samples=1)
    assert told in str(fault.value)
    assert main(["workload", "trace", target, *(word for one in inputs for word in ("--input", one))]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.count("\n") == 1
