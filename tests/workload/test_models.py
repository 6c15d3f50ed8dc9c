"""Shipped models against published constants, and laws that hold for any model."""

from pathlib import Path

import pytest

import lbsim.workload.models
from lbsim.profiles.module_catalog import find_module, module_names
from lbsim.workload.layers import Workload

TORCHVISION = "torchvision 0.29.2, models/*.py, meta (MOD-001 to MOD-014 of the published measurements)"
ARITHMETIC = "arithmetic on torchvision's definitions (MOD-024 to MOD-031)"
HUGGING_FACE = "safetensors headers of bert-base-uncased and bert-large-uncased (huggingface.js tests)"

PARAMETERS = [
    ("alexnet", 60_965_224, "Caffe's bvlc_alexnet, weights file"),
    ("alexnet_owt", 61_100_840, TORCHVISION),
    ("alexnet_tf", 61_100_840 + 128 * (384 + 256) * 9 + 128, "alexnet_owt with conv4 wider by 128"),
    ("bert_base", 110_106_428, HUGGING_FACE),
    ("bert_base_64", 110_106_428, HUGGING_FACE),
    ("bert_large", 336_226_108, HUGGING_FACE),
    ("bert_large_64", 336_226_108, HUGGING_FACE),
    ("bert_large_512", 336_226_108, HUGGING_FACE),
    ("googlenet", 6_624_904, TORCHVISION),
    ("inception_v3", 27_161_264, TORCHVISION),
    ("inception_v3_no_aux", 23_834_568, "pytorchcv (imgclsmob), the assertion in its inceptionv3 test"),
    ("inception_v4", 42_679_816, "pytorchcv (imgclsmob) and KerasHub, inception_v4_imagenet"),
    ("resnet50", 25_557_032, TORCHVISION),
    ("resnet101", 44_549_160, TORCHVISION),
    ("resnet152", 60_192_808, TORCHVISION),
    ("vgg16", 138_357_544, TORCHVISION),
]

GRADIENTS = [
    ("alexnet", 16, ARITHMETIC),
    ("alexnet_owt", 16, ARITHMETIC),
    ("googlenet", 173, ARITHMETIC),
    ("inception_v3", 292, ARITHMETIC),
    ("inception_v3_no_aux", 284, ARITHMETIC),
    ("resnet50", 161, ARITHMETIC),
    ("resnet101", 314, ARITHMETIC),
    ("resnet152", 467, ARITHMETIC),
    ("vgg16", 32, ARITHMETIC),
]

GMAC = [
    ("alexnet_owt", 0.714, 0.0005, TORCHVISION),
    ("googlenet", 1.498, 0.0005, TORCHVISION),
    ("inception_v3_no_aux", 5.713, 0.0005, TORCHVISION + ": of inference, so without the auxiliary branch"),
    ("resnet50", 4.089, 0.0005, TORCHVISION),
    ("resnet101", 7.801, 0.0005, TORCHVISION),
    ("resnet152", 11.514, 0.0005, TORCHVISION),
    ("vgg16", 15.47, 0.0005, TORCHVISION),
    ("alexnet", 0.727, 0.003, "convnet-burden; counts a little besides products (MOD-015)"),
    ("alexnet_bn", 0.727, 0.003, "Jia et al. 2018, model table; the same count"),
    ("inception_v4", 12.3, 0.05, "timm's model card, inception_v4.tf_in1k"),
]

EVERY_MODEL = pytest.mark.parametrize("name", module_names("workloads"))


def build(name: str) -> Workload:
    workload = find_module("workloads", name).build()
    assert isinstance(workload, Workload)
    return workload


def gmac(workload: Workload) -> float:
    return workload.forward_flops / 2e9


@pytest.mark.parametrize(("name", "parameters", "source"), PARAMETERS)
def test_the_parameters_are_the_published_ones(name, parameters, source):
    assert build(name).parameters == parameters, source


@pytest.mark.parametrize(("name", "tensors", "source"), GRADIENTS)
def test_the_number_of_gradients_is_that_of_the_architecture(name, tensors, source):
    assert len(build(name).tensors) == tensors, source


@pytest.mark.parametrize(("name", "published", "rounding", "source"), GMAC)
def test_the_work_is_the_published_work_within_its_rounding(name, published, rounding, source):
    assert gmac(build(name)) == pytest.approx(published, abs=rounding), source


@EVERY_MODEL
def test_every_model_has_the_name_of_its_file_and_a_source(name):
    workload = build(name)
    assert workload.name == name
    assert workload.source
    assert find_module("workloads", name).__doc__
    assert find_module("workloads", name.replace("_", "-")).build().name == name


@EVERY_MODEL
def test_every_model_has_data_to_train_on(name):
    workload = build(name)
    assert workload.input_bytes > 0
    assert workload.samples > 0
    assert workload.validation_samples >= 0


@EVERY_MODEL
def test_names_of_layers_and_of_tensors_are_unique(name):
    workload = build(name)
    layers = [layer.name for layer in workload.layers]
    tensors = [tensor.name for tensor in workload.tensors]
    assert len(set(layers)) == len(layers)
    assert len(set(tensors)) == len(tensors)


@EVERY_MODEL
def test_no_layer_has_a_negative_cost(name):
    for layer in build(name).layers:
        assert min(layer.forward_flops, layer.backward_flops, layer.saved_elements) >= 0
        assert min(layer.forward_elements, layer.backward_elements, *layer.kernels) > 0
        assert layer.kind in {
            "convolution",
            "linear",
            "product",
            "normalisation",
            "elementwise",
            "pooling",
            "lookup",
        }


@EVERY_MODEL
def test_the_gradients_are_the_parameters_from_the_last_layer_to_the_first(name):
    workload = build(name)
    forward = [tensor for layer in workload.layers for tensor in layer.tensors]
    assert list(workload.tensors) == forward[::-1]
    assert sum(tensor.elements for tensor in workload.tensors) == workload.parameters
    assert all(tensor.elements > 0 for tensor in workload.tensors)


@EVERY_MODEL
def test_backward_does_between_one_and_two_times_the_work_of_forward(name):
    workload = build(name)
    backward = sum(layer.backward_flops for layer in workload.layers)
    assert workload.forward_flops < backward <= 2 * workload.forward_flops


@EVERY_MODEL
def test_no_layer_saves_more_than_it_writes(name):
    workload = build(name)
    kept = sum(layer.saved_elements for layer in workload.layers)
    assert 0 < kept < sum(layer.forward_elements for layer in workload.layers)


@EVERY_MODEL
def test_every_weight_of_a_product_does_at_least_one_multiplication(name):
    for layer in build(name).layers:
        if layer.kind in {"convolution", "linear"}:
            weights = sum(tensor.elements for tensor in layer.tensors if tensor.adapted)
            assert layer.forward_flops >= 2 * weights


def test_every_docstring_states_parameters_tensors_and_work():
    for name in module_names("workloads"):
        workload, said = build(name), find_module("workloads", name).build.__doc__
        assert f"{workload.parameters:,} parameters in {len(workload.tensors)} tensors" in said
        numbers = [word for word in said.split() if word.replace(".", "").isdigit() and "." in word]
        assert any(gmac(workload) == pytest.approx(float(word), rel=0.001) for word in numbers), name


def test_a_new_module_is_a_new_model():
    folder = Path(lbsim.workload.models.__file__).parent
    assert module_names("workloads") == sorted(file.stem for file in folder.glob("[a-z]*.py"))


def test_the_activations_of_resnet50_take_the_memory_that_users_measure():
    """Batch 64 in fp32 trains on cards of 8 GB: from experience, no published figure, so a wide range."""
    kept = sum(layer.saved_elements for layer in build("resnet50").layers)
    assert 5.0e9 < 4 * 64 * kept < 7.0e9


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet50", 11.1), ("resnet101", 16.2), ("resnet152", 22.6), ("inception_v4", 15.1)]
)
def test_the_norms_save_every_output_of_a_convolution(name, millions):
    """timm's model cards: "Activations (M)", the elements that convolutions write."""
    kept = sum(layer.saved_elements for layer in build(name).layers if layer.kind == "normalisation")
    assert kept == pytest.approx(millions * 1e6, abs=0.05e6)


@pytest.mark.parametrize(
    ("name", "tokens", "parameters"),
    [
        ("bert_base", 128, 109_482_240),
        ("bert_large", 128, 335_141_888),
        ("bert_base_64", 64, 109_482_240),
        ("bert_large_64", 64, 335_141_888),
        ("bert_large_512", 512, 335_141_888),
    ],
)
def test_bert_without_heads_has_hugging_face_s_parameters_and_the_textbook_work(name, tokens, parameters):
    """google-research/bert issue 1225; and Narayanan et al., SC21, appendix: 24 s h^2 + 4 s^2 h FLOPs a layer."""
    workload = build(name)
    assert sum(layer.parameters for layer in workload.layers if not layer.name.startswith("heads.")) == parameters
    layers, hidden = (12, 768) if "base" in name else (24, 1024)
    encoder = sum(layer.forward_flops for layer in workload.layers if layer.name.startswith("layer"))
    assert encoder == layers * (24 * tokens * hidden**2 + 4 * tokens**2 * hidden)


@pytest.mark.parametrize(("name", "hidden", "heads"), [("bert_base", 768, 12), ("bert_large", 1024, 16)])
def test_a_transformer_layer_saves_its_closed_form(name, hidden, heads):
    """Korthikanti et al., arXiv:2205.05198, equation 1: s h (34 + 5 a s / h) bytes a sample, in fp16.

    Masks of a byte are 2 of the 34 and 1 of the 5; the rest is two bytes an element. Here a mask is a quarter element.
    """
    tokens = 128
    kept = sum(layer.saved_elements for layer in build(name).layers if layer.name.startswith("layer3."))
    in_masks = 2 * tokens * hidden + heads * tokens**2
    in_elements = (34 - 2) / 2 * tokens * hidden + (5 - 1) / 2 * heads * tokens**2
    assert kept == in_elements + in_masks / 4


def test_the_tied_word_embedding_is_ready_last():
    assert build("bert_base").tensors[-1].name == "embeddings.word.weight"


def test_alexnet_bn_has_twenty_gradients_before_the_last_norm_and_the_fully_connected_layers():
    """Jia et al.'s team: AlexNet's gradients in two messages are best cut between 20 and 21 (JIA-016)."""
    forward = build("alexnet_bn").tensors[::-1]
    assert all(tensor.name.startswith(("conv", "bn")) for tensor in forward[:20])
    assert [tensor.name for tensor in forward[20:24]] == ["bn_pool5.weight", "bn_pool5.bias", "fc6.weight", "fc6.bias"]
