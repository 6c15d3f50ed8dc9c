"""Models that the harness trains; a test compares those that lbsim predicts with ``lbsim/workload/models``.

Weights are initialised as in He et al., arXiv:1502.01852; the last norm of each residual branch starts at zero, as in
Goyal et al., arXiv:1706.02677, section 5.1.
"""

from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn

from lbsim.errors import InputError, unknown_name

__all__ = [
    "Bottleneck",
    "ResNet",
    "alexnet",
    "alexnet_bn",
    "build_model",
    "input_shape",
    "mlp",
    "require_input",
    "small_cnn",
    "vgg16",
]

_EXPANSION = 4
"""Output channels per channel of a bottleneck's 3x3 convolution."""


def build_model(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the model called *name*: one of the harness for samples of *shape*, or ``module:callable``.

    A callable is called without arguments. Raises InputError for an unknown name, and for a callable that cannot be
    imported, fails, or returns no torch.nn.Module.

    >>> sum(p.numel() for p in build_model("resnet50", (3, 224, 224), 1000).parameters())
    25557032
    """
    if ":" in name:
        return _imported(name)
    builders: dict[str, Callable[[], nn.Module]] = {
        "alexnet": lambda: alexnet(classes),
        "alexnet-bn": lambda: alexnet_bn(classes),
        "cnn": lambda: small_cnn(shape, classes),
        "mlp": lambda: mlp(shape, classes),
        "resnet50": lambda: ResNet((3, 4, 6, 3), classes),
        "resnet101": lambda: ResNet((3, 4, 23, 3), classes),
        "resnet152": lambda: ResNet((3, 8, 36, 3), classes),
        "vgg16": lambda: vgg16(classes),
    }
    dashed = name.replace("_", "-")
    if dashed not in builders:
        raise unknown_name(name, "the harness's models", [*builders, "module:callable"])
    return builders[dashed]()


def input_shape(name: str) -> tuple[int, ...] | None:
    """Return the sample shape of a model for ImageNet; None for a model of any shape."""
    if name.startswith("alexnet"):
        return (3, 227, 227)
    return (3, 224, 224) if name.startswith(("resnet", "vgg")) else None


def require_input(model: nn.Module, shape: tuple[int, ...], classes: int, batch: int = 2) -> None:
    """Raise InputError unless *model* maps a *batch* of samples of *shape* to a score per class."""
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise InputError("--model: the model has no parameters to train")
    training, samples = model.training, min(batch, 2)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train(samples == 1)  # batch norm may refuse a single sample in training mode
    try:
        with torch.no_grad():
            scores = model(torch.zeros(samples, *shape, dtype=parameter.dtype, device=parameter.device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        size, count = "x".join(map(str, shape)), "a batch of 1 sample" if samples == 1 else "input"
        raise InputError(
            f"--model: the model does not accept {count} of {size}: {str(error).splitlines()[0]}"
        ) from None
    finally:
        model.train(training)
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (samples, classes):
        returned = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        expected = f"({samples}, {classes})"
        raise InputError(f"--model: for {samples} samples of {classes} classes it returns {returned}, not {expected}")


def alexnet(classes: int = 1000) -> nn.Module:
    """Return AlexNet with two groups and local response normalisation: Krizhevsky et al., NIPS 2012."""
    layers: list[tuple[str, nn.Module]] = []
    for index, (inputs, channels, kernel, stride, padding, groups) in enumerate(_ALEXNET, start=1):
        layers.append((f"conv{index}", nn.Conv2d(inputs, channels, kernel, stride, padding, groups=groups)))
        layers.append((f"relu{index}", nn.ReLU(inplace=True)))
        if index in {1, 2}:
            layers.append((f"norm{index}", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)))
        if index in {1, 2, 5}:
            layers.append((f"pool{index}", nn.MaxPool2d(3, 2)))
    return _initialised(nn.Sequential(OrderedDict([*layers, *_classifier(256 * 6 * 6, classes)])))


def alexnet_bn(classes: int = 1000) -> nn.Module:
    """Return AlexNet with batch norm before each ReLU and after pool5: You et al., Jia et al.; see the workload."""
    layers: list[tuple[str, nn.Module]] = []
    for index, (inputs, channels, kernel, stride, padding, groups) in enumerate(_ALEXNET, start=1):
        layers.append((f"conv{index}", nn.Conv2d(inputs, channels, kernel, stride, padding, groups=groups)))
        layers.append((f"bn{index}", nn.BatchNorm2d(channels)))
        layers.append((f"relu{index}", nn.ReLU(inplace=True)))
        if index in {1, 2, 5}:
            layers.append((f"pool{index}", nn.MaxPool2d(3, 2)))
    layers.append(("bn_pool5", nn.BatchNorm2d(256)))
    return _initialised(nn.Sequential(OrderedDict([*layers, *_classifier(256 * 6 * 6, classes)])))


_ALEXNET = (
    (3, 96, 11, 4, 0, 1),
    (96, 256, 5, 1, 2, 2),
    (256, 384, 3, 1, 1, 1),
    (384, 384, 3, 1, 1, 2),
    (384, 256, 3, 1, 1, 2),
)
"""Input and output channels, kernel, stride, padding and groups of the convolutions."""


def vgg16(classes: int = 1000) -> nn.Module:
    """Return VGG-16 without batch norm: Simonyan and Zisserman, ICLR 2015, table 1, column D."""
    layers: list[tuple[str, nn.Module]] = []
    inputs = 3
    for block, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for index in range(1, count + 1):
            layers.append((f"conv{block}_{index}", nn.Conv2d(inputs, width, 3, padding=1)))
            layers.append((f"relu{block}_{index}", nn.ReLU(inplace=True)))
            inputs = width
        layers.append((f"pool{block}", nn.MaxPool2d(2, 2)))
    return _initialised(nn.Sequential(OrderedDict([*layers, *_classifier(512 * 7 * 7, classes)])))


class Bottleneck(nn.Module):
    """Bottleneck block: three convolutions and a shortcut; the stride is in the 3x3 convolution (v1.5)."""

    def __init__(self, inputs: int, width: int, stride: int, *, project: bool) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if project
            else nn.Identity()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the block's output; the shortcut is computed last, so that backward starts with it."""
        branch = torch.relu_(self.bn1(self.conv1(images)))
        branch = torch.relu_(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        return torch.relu_(branch + self.downsample(images))


class ResNet(nn.Module):
    """Residual network of bottleneck blocks: He et al., CVPR 2016, table 1."""

    def __init__(self, blocks: tuple[int, int, int, int], classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool1 = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
            layers = []
            for block in range(count):
                stride = 2 if stage > 1 and block == 0 else 1
                layers.append(Bottleneck(inputs, width, stride, project=block == 0))
                inputs = width * _EXPANSION
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        _initialised(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return a score per class."""
        activation = self.pool1(torch.relu_(self.bn1(self.conv1(images))))
        for stage in (1, 2, 3, 4):
            activation = self.get_submodule(f"layer{stage}")(activation)
        return self.fc(self.pool(activation).flatten(1))  # type: ignore[no-any-return]  # torch


def small_cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network of two convolutions with batch norm and a classifier, for small images."""
    channels = shape[0]
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(16),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2, 2),
        conv2=nn.Conv2d(16, 32, 3, padding=1, bias=False),
        bn2=nn.BatchNorm2d(32),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.AdaptiveAvgPool2d(4),
        flatten=nn.Flatten(),
        fc=nn.Linear(32 * 16, classes),
    )
    return _initialised(nn.Sequential(layers))


def mlp(shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """Return a network of two hidden layers without batch norm, whose result does not depend on the number of ranks."""
    inputs = int(torch.Size(shape).numel())
    layers = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(),
        fc1=nn.Linear(inputs, width),
        relu1=nn.ReLU(),
        fc2=nn.Linear(width, width),
        relu2=nn.ReLU(),
        fc3=nn.Linear(width, classes),
    )
    return _initialised(nn.Sequential(layers))


def _classifier(inputs: int, classes: int) -> list[tuple[str, nn.Module]]:
    return [
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(inputs, 4096)),
        ("relu6", nn.ReLU(inplace=True)),
        ("drop6", nn.Dropout()),
        ("fc7", nn.Linear(4096, 4096)),
        ("relu7", nn.ReLU(inplace=True)),
        ("drop7", nn.Dropout()),
        ("fc8", nn.Linear(4096, classes)),
    ]


def _initialised(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        bias = getattr(module, "bias", None)
        if isinstance(module, nn.Conv2d | nn.Linear) and isinstance(bias, Tensor):
            nn.init.zeros_(bias)
    return model


def _imported(name: str) -> nn.Module:
    module_name, _, callable_name = name.partition(":")
    try:
        build = getattr(import_module(module_name), callable_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"--model {name}: import failed: {reason}; write an importable module:callable") from None
    try:
        model = build()
    except Exception as error:
        raise InputError(
            f"--model {name}: calling it without arguments failed: {type(error).__name__}: {error}"
        ) from None
    if not isinstance(model, nn.Module):
        raise InputError(f"--model {name}: it returns {type(model).__name__}, not a torch.nn.Module")
    return model
