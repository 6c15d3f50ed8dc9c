"""The trained models against lbsim's own workloads, counted by torch."""

from itertools import groupby

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lbsim.errors import InputError
from lbsim.harness import models
from lbsim.harness.training.optimizer import adapted
from lbsim.profiles.module_catalog import find_module

SHARED = ["alexnet", "alexnet-bn", "resnet50", "resnet101", "resnet152", "vgg16"]


def size(name):
    shape = models.input_shape(name)
    assert shape is not None
    return shape


def on_meta(name):
    with torch.device("meta"):
        return models.build_model(name, size(name), 1000)


def workload(name):
    return find_module("workloads", name).build()


def in_backward_order(model, shape):
    """Return (name, parameter) as torch's own hooks report their gradients."""
    finished = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: finished.append((name, p)))
    model(torch.zeros(2, *shape, device="meta")).sum().backward()
    return finished


@pytest.mark.parametrize("name", SHARED)
def test_forward_flops_are_those_of_the_workload(name):
    with FlopCounterMode(display=False) as counter:
        on_meta(name)(torch.zeros(1, *size(name), device="meta"))
    assert counter.get_total_flops() == workload(name).forward_flops


@pytest.mark.parametrize("name", SHARED)
def test_gradients_become_ready_in_the_order_of_the_workload(name):
    expected = [(tensor.name, tensor.elements, tensor.adapted) for tensor in workload(name).tensors]
    finished = in_backward_order(on_meta(name), size(name))
    found = [(of, parameter.numel(), adapted(parameter)) for of, parameter in finished]
    assert len(found) == len(expected)
    assert by_layer(found) == by_layer(expected)


def by_layer(tensors):
    """Return *tensors* layer by layer; those of one layer are ready at once, in any order."""
    layers = groupby(tensors, key=lambda tensor: tensor[0].rpartition(".")[0])
    return [sorted(tensor[1:] for tensor in layer) for _, layer in layers]


@pytest.mark.parametrize("name", SHARED)
def test_parameters_are_those_of_the_workload(name):
    parameters = dict(on_meta(name).named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) == workload(name).parameters
    if not name.startswith("resnet"):  # whose shortcuts torch must call something else
        assert {n: p.numel() for n, p in parameters.items()} == {t.name: t.elements for t in workload(name).tensors}


def test_small_models_take_small_images():
    for name in ("cnn", "mlp"):
        models.require_input(models.build_model(name, (1, 8, 8), 10), (1, 8, 8), 10)


def test_a_callable_is_a_model():
    assert isinstance(models.build_model("torch.nn:Identity", (1,), 1), torch.nn.Identity)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet5", "did you mean 'resnet50'"),
        ("no_such_module:build", "No module named"),
        ("torch.nn:NoSuchModel", "no attribute"),
        ("torch.nn:Linear", "without arguments failed"),
        ("math:gcd", "not a torch.nn.Module"),
    ],
)
def test_no_such_model_is_one_line(name, said):
    with pytest.raises(InputError, match=said) as caught:
        models.build_model(name, (3, 8, 8), 10)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_take_the_input_is_one_line():
    with pytest.raises(InputError, match="does not accept input of 1x8x8") as caught:
        models.require_input(models.build_model("vgg16", (1, 8, 8), 10), (1, 8, 8), 10)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no parameters"):
        models.require_input(torch.nn.Identity(), (10,), 10)
    with pytest.raises(InputError, match=r"returns \(2, 3\), not \(2, 10\)"):
        models.require_input(torch.nn.Linear(4, 3), (4,), 10)
