"""Reader of traces of the PyTorch profiler (Kineto): ``prof.export_chrome_trace``, with ``record_shapes=True``.

Read are all-reduces, as the backend runs them, their message from its shape and type, and the median over the steps.
One profile tells nothing of other ranks: that one waits for another is part of what it shows. Operators of layers,
forward and backward, are found too and reported as left out: a prediction has only their sum.
"""

import math
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from lbsim.measurements.measurement import Measurement, Reading, json_of, positive, seconds

_MICRO = 1e-6
_BYTES = {"float": 4, "c10::Half": 2, "c10::BFloat16": 2, "double": 8, "int": 4, "long int": 8}
_LAYERS = ("aten::linear", "aten::conv", "aten::batch_norm", "aten::addmm")
_BACKWARD = "autograd::engine::evaluate_function: "


def knows(text: str) -> bool:
    """Return whether *text* is a profile: both words stand in no other file that is read."""
    return text.lstrip().startswith("{") and '"traceEvents"' in text and '"ph"' in text


def read(text: str, file: Path) -> Reading:
    """Return the median time of the all-reduces of each message, which are its observations."""
    content = json_of(text, file)
    events = content.get("traceEvents")
    times: dict[float, list[float]] = defaultdict(list)
    layers: dict[str, list[float]] = defaultdict(list)
    for number, event in enumerate(events if isinstance(events, list) else ()):
        if not isinstance(event, dict) or event.get("ph") != "X":
            continue
        name, where = str(event.get("name", "")), f"{file}: traceEvents.{number}"
        if name in {"gloo:all_reduce", "nccl:all_reduce"}:
            message = _message(event, where)
            if message:
                times[message].append(seconds(event.get("dur"), _MICRO, f"{where}.dur"))
        elif name.startswith(_LAYERS) or (name.startswith(_BACKWARD) and name.endswith("Backward0")):
            layers[name.removeprefix(_BACKWARD)].append(seconds(event.get("dur"), _MICRO, f"{where}.dur"))
    gpus = _gpus(content, file)
    found = (
        Measurement("all_reduce_time", median(own), f"all_reduce of {size:.0f} B", size, _uncertainty(own), gpus)
        for size, own in sorted(times.items())
    )
    told = (
        f"{name}: {len(own)} calls, {median(own) * 1e6:.0f} us in the median: a prediction has only their sum"
        for name, own in sorted(layers.items())
    )
    return Reading(tuple(found), _machine(content), "deviceProperties.0.name", tuple(told))


def _message(event: dict[str, Any], where: str) -> float:
    """Return the bytes of the first tensor of *event*; 0 if the profile has no shapes."""
    arguments = event.get("args")
    shapes = arguments.get("Input Dims") if isinstance(arguments, dict) else None
    types = arguments.get("Input type") if isinstance(arguments, dict) else None
    if not isinstance(shapes, list) or not shapes or not isinstance(types, list) or not types:
        return 0.0
    size = _BYTES.get(str(types[0]), 0)
    shape = shapes[0] if isinstance(shapes[0], list) else [shapes[0]]
    if not size or any(isinstance(one, list) for one in shape):
        return 0.0
    elements = math.prod(positive(one, f"{where}.args.Input Dims", 1e12) for one in shape)
    return positive(elements * size, f"{where}.args.Input Dims")


def _gpus(content: dict[str, Any], file: Path) -> dict[str, int]:
    about = content.get("distributedInfo")
    if not isinstance(about, dict) or "world_size" not in about:
        return {}
    return {"plan.gpus": int(positive(about["world_size"], f"{file}: distributedInfo.world_size", 1e7))}


def _machine(content: dict[str, Any]) -> str:
    devices = content.get("deviceProperties")
    first = devices[0] if isinstance(devices, list) and devices else {}
    return str(first.get("name", "")) if isinstance(first, dict) else ""


def _uncertainty(times: list[float]) -> float:
    """Return the standard error of the median, relative."""
    middle = median(times)
    return 1.25 * 1.4826 * median(abs(one - middle) for one in times) / math.sqrt(len(times)) / middle
