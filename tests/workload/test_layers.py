"""The stack of layers: closed forms for work and parameters, and laws of the saved activations."""

from math import prod

import pytest

from lbsim.workload.builder import Stack
from lbsim.workload.layers import Workload


def saved(stack: Stack) -> list[float]:
    return [layer.saved_elements for layer in stack.layers]


def test_a_convolution_costs_its_closed_form():
    stack = Stack((3, 224, 224))
    stack.conv2d("conv1", 64, 7, stride=2, padding=3)
    (layer,) = stack.layers
    assert layer.forward_flops == 2 * 118_013_952  # 64 x 3 x 7 x 7 x 112 x 112, as thop and fvcore print for ResNet-50
    assert layer.parameters == 9408
    assert layer.forward_elements == 3 * 224 * 224 + 64 * 112 * 112


def test_groups_divide_weights_and_work_but_not_traffic():
    one, two = Stack((96, 27, 27)), Stack((96, 27, 27))
    one.conv2d("conv2", 256, 5, padding=2)
    two.conv2d("conv2", 256, 5, padding=2, groups=2)
    assert two.layers[0].parameters == 48 * 5 * 5 * 256  # Krizhevsky et al. 2012, section 3.5: "256 kernels 5 x 5 x 48"
    assert one.layers[0].forward_flops == 2 * two.layers[0].forward_flops
    assert one.layers[0].forward_elements == two.layers[0].forward_elements
    assert two.layers[0].channels == (48, 128)


def test_backward_of_a_product_is_twice_forward_but_for_the_first_layer():
    stack = Stack((3, 8, 8))
    stack.conv2d("first", 8, 3, padding=1)
    stack.conv2d("second", 8, 3, padding=1)
    stack.linear("third", 10)
    assert [layer.backward_flops / layer.forward_flops for layer in stack.layers] == [1, 2, 2]
    assert [layer.kernels for layer in stack.layers] == [(1, 1), (1, 2), (1, 2)]


def test_3x3_and_5x5_of_stride_1_are_square_unless_their_groups_are_narrow():
    stack = Stack((32, 16, 16))
    stack.conv2d("three", 32, 3, padding=1)
    stack.conv2d("five", 32, 5, padding=2)
    stack.conv2d("two groups", 32, 3, padding=1, groups=2)
    stack.conv2d("depthwise", 32, 3, padding=1, groups=32)
    stack.conv2d("flat", 32, (1, 3), padding=(0, 1))
    stack.conv2d("strided", 32, 3, padding=1, stride=2)
    assert [layer.square for layer in stack.layers] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("size", "window", "expected"),
    [
        (112, (3, 2, 1, False), 56),  # ResNet, He et al. 2016, table 1
        (112, (3, 2, 0, True), 56),  # GoogLeNet, Szegedy et al. 2015, table 1
        (55, (3, 2, 0, False), 27),  # AlexNet
        (14, (2, 2, 0, True), 7),  # torchvision's GoogLeNet, pool4
        (28, (3, 1, 1, True), 28),  # an Inception module's pooling
        (3, (2, 2, 1, True), 2),  # PyTorch: a window that would start in the right padding is dropped
    ],
)
def test_pooling_gives_the_published_sizes(size, window, expected):
    kernel, stride, padding, ceil = window
    stack = Stack((4, size, size))
    stack.max_pool("pool", kernel, stride=stride, padding=padding, ceil=ceil)
    assert stack.shape == (4, expected, expected)


def test_a_convolution_with_norm_and_relu_saves_two_tensors():
    stack = Stack((8, 4, 4))
    for index in range(2):
        stack.conv2d(f"conv{index}", 8, 3, padding=1)
        stack.batch_norm(f"bn{index}")
        stack.relu(f"relu{index}")
    kept = 8 * 4 * 4
    # the first input; then the norm's input and the ReLU's output, which is also the next convolution's input
    assert saved(stack) == [kept, kept, kept, 0, kept, kept]


def test_branches_save_their_common_input_once():
    stack = Stack((8, 4, 4))
    left, right = stack.fork(), stack.fork()
    left.conv2d("left", 4, 1)
    right.max_pool("right", 3, stride=1, padding=1)
    assert saved(stack) == [8 * 4 * 4, 0]


def test_each_output_of_a_copy_is_saved_again():
    stack = Stack((8, 4, 4))
    left, right = stack.fork(), stack.fork()
    left.conv2d("left", 8, 1)
    right.conv2d("right", 16, 1)
    stack.concatenate("join", [left, right])
    assert stack.shape == (24, 4, 4)
    stack.conv2d("after", 8, 1)
    assert stack.layers[-1].saved_elements == 24 * 4 * 4


def test_a_sum_saves_nothing_and_dropout_one_byte_per_element():
    stack = Stack((16, 32))
    stack.add("sum")
    stack.dropout("dropout")
    assert saved(stack) == [0, 16 * 32 / 4]  # in elements of fp32, as PyTorch's boolean mask


def test_an_activation_saves_an_input_that_nothing_else_saves():
    stack = Stack((16, 32))
    stack.linear("up", 64)
    stack.activation("gelu")
    stack.linear("down", 32)
    assert saved(stack) == [16 * 32, 16 * 64, 16 * 64]


def test_a_pool_after_a_relu_saves_nothing_more():
    stack = Stack((8, 4, 4))
    stack.conv2d("conv", 8, 1)
    stack.relu("relu")
    stack.max_pool("pool", 2, stride=2)
    assert saved(stack) == [128, 128, 0]


def test_a_tied_layer_has_the_work_but_not_the_weight():
    own, tied = Stack((20, 768)), Stack((20, 768))
    own.linear("decoder", 30522)
    tied.linear("decoder", 30522, tied=True)
    assert own.layers[0].forward_flops == tied.layers[0].forward_flops
    assert [tensor.name for tensor in tied.layers[0].tensors] == ["decoder.bias"]


def test_gradients_are_completed_in_reverse_order():
    stack = Stack((4, 8))
    stack.linear("first", 8)
    stack.layer_norm("norm")
    stack.linear("last", 2, bias=False)
    workload = stack.build("x", source="-", input_bytes=1, samples=1, validation_samples=0)
    assert [tensor.name for tensor in workload.tensors] == [
        "last.weight",
        "norm.bias",
        "norm.weight",
        "first.bias",
        "first.weight",
    ]


def test_lars_applies_to_neither_biases_nor_norms():
    stack = Stack((4, 8))
    stack.linear("linear", 8)
    stack.layer_norm("norm")
    workload: Workload = stack.build("x", source="-", input_bytes=1, samples=1, validation_samples=0)
    assert {tensor.name for tensor in workload.tensors if tensor.adapted} == {"linear.weight"}


def test_later_layers_work_on_the_selected_tokens_only():
    stack = Stack((128, 768))
    stack.select("masked", 20)
    assert stack.shape == (20, 768)
    stack.linear("transform", 768)
    assert stack.layers[-1].forward_flops == 2 * 20 * 768 * 768
    assert prod(stack.shape) == stack.elements
