"""Reader of the traces that lbsim's harness writes, `lbsim.measurements.trace`."""

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from lbsim.errors import InputError
from lbsim.measurements.measurement import Measurement, Reading
from lbsim.measurements.trace import Trace, TraceEntry, parse_trace

_STEPS = {"step_time": "step_time", "forward": "breakdown.forward", "backward": "breakdown.backward"}
_NORMAL = 1.4826
"""From a median absolute deviation to a standard deviation."""


def knows(text: str) -> bool:
    """Return whether *text* has the fields that only these files have."""
    return text.lstrip().startswith("{") and '"measured"' in text and '"evidence"' in text


def read(text: str, file: Path) -> Reading:
    """Return the medians of a trace."""
    trace = parse_trace(text, file)
    found: list[Measurement] = []
    left_out: dict[str, list[int]] = {}
    for number, one in enumerate(trace.observations):
        where = f"observations.{number}"
        reason = _not_modelled(trace, one)
        if reason:
            left_out.setdefault(reason, []).append(number)
        elif one.quantity == "all_reduce":
            found.append(_all_reduce(trace, one, f"{file}: {where}"))
        elif one.quantity in _STEPS and (not one.subject or one.subject.startswith("rank ")):
            found.append(_step(trace, one, where))
        else:
            left_out.setdefault(f"{one.quantity} is not predicted", []).append(number)
    machine = trace.evidence.gpu or trace.evidence.cpu
    return Reading(
        tuple(found), machine, "evidence.gpu" if trace.evidence.gpu else "evidence.cpu", tuple(_reasons(left_out))
    )


def _reasons(left_out: dict[str, list[int]]) -> Iterator[str]:
    """Yield each reason once, with its entries, which for the layers of a large model are hundreds."""
    for reason, (first, *others) in left_out.items():
        yield f"observations.{first}{f' and {len(others)} more' if others else ''}: {reason}"


def _not_modelled(trace: Trace, one: TraceEntry) -> str:
    """Return why the conditions of *one* are not modelled; empty if they are."""
    evidence = trace.evidence
    if evidence.gpu is None and trace.gpus > evidence.cpus:
        return f"{trace.gpus} processes on {evidence.cpus} processors: the measurement includes their scheduling"
    if evidence.gpu is None and one.quantity == "all_reduce" and one.settings.get("precision", "fp32") != "fp32":
        return "a processor adds half precision slowly, which the model of an all-reduce omits"
    return ""


def _all_reduce(trace: Trace, one: TraceEntry, where: str) -> Measurement:
    settings = trace.settings | one.settings
    message = settings.get("message")
    if isinstance(message, bool) or not isinstance(message, int | float) or not 0 < message < math.inf:
        raise InputError(f"{where}.settings.message: {message!r} is not a size in bytes")
    changes: dict[str, object] = {"plan.gpus": trace.gpus}
    algorithm = str(settings.get("all_reduce", "backend"))
    if algorithm != "backend":
        changes["plan.all_reduce"] = algorithm
        if algorithm in {"hierarchical", "hybrid"} and settings.get("group_size"):
            changes["plan.group_size"] = settings["group_size"]
    value = _positive(one, where)
    return Measurement("all_reduce_time", value, where, float(message), _uncertainty(one), changes)


def _step(trace: Trace, one: TraceEntry, where: str) -> Measurement:
    settings = trace.settings | one.settings
    changes: dict[str, object] = {"plan.gpus": trace.gpus}
    named = ("batch_per_gpu", "precision", "overlap", "fusion_threshold", "fusion", "communication_precision")
    changes |= {f"plan.{name}": settings[name] for name in named if settings.get(name) is not None}
    value = _positive(one, where)
    model = str(settings.get("model", "a model that the trace does not name"))
    return Measurement(_STEPS[one.quantity], value, where, None, _uncertainty(one), changes, model)


def _positive(one: TraceEntry, where: str) -> float:
    if one.median <= 0:
        raise InputError(f"{where}.samples: a median of 0 s is not a valid measurement")
    return one.median


def _uncertainty(one: TraceEntry) -> float:
    """Return the standard error of the median, relative: 1.25 times the mean's, for what is normally distributed."""
    spread = _NORMAL * median(abs(sample - one.median) for sample in one.samples)
    return 1.25 * spread / math.sqrt(len(one.samples)) / one.median
