"""``lbsim timeline``: simulated and measured steps in the Chrome trace format.

Imports that only this command needs are inside the functions, to keep start-up short.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli.options import request_options, scenario_from
from lbsim.cli.terminal import print_line
from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.request import ScenarioRequest

if TYPE_CHECKING:
    from lbsim.simulation.timeline import Timeline

__all__ = ["timeline"]


@request_options
def timeline(
    request: ScenarioRequest,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Output file, in the Chrome trace format.")],
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measured trace of steps to write, with or without the simulated step."),
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="Step of the trace. Default: the one whose length is nearest the median.")
    ] = None,
) -> None:
    """Write the simulated step, a measured one, or both, as a trace for Perfetto or chrome://tracing.

    With --trace, the scenario has the trace's number of GPUs by default; without scenario options, only the trace is
    written.

    For example:  lbsim timeline --gpus 1024 --cluster mn-1 --out step.json
    """
    from lbsim.atomic_write import check_writable, write_atomically
    from lbsim.simulation import chrome_trace

    check_writable(out)
    processes: dict[str, Timeline] = {}
    if trace is not None:
        gpus, processes = _measured(trace, step)
        has_scenario = bool(request.changes or len(request.tables) > 1 or request.tables["plan"])
        if has_scenario:
            tables = {**request.tables, "plan": {"gpus": gpus} | request.tables["plan"]}
            processes = _simulated(ScenarioRequest(tables, request.changes, request.folders)) | processes
    elif step is not None:
        raise InputError("--step selects a step of a measured trace; give --trace FILE too")
    else:
        processes = _simulated(request)
    write_atomically(json.dumps(chrome_trace.timelines_to_chrome_trace(processes), allow_nan=False), out)
    spans = sum(len(one.spans) for one in processes.values())
    print_line(f"{out}: {spans} spans; open it at https://ui.perfetto.dev")


def _simulated(request: ScenarioRequest) -> "dict[str, Timeline]":
    scenario = scenario_from(request)
    name = f"{Path(scenario.model).name} on {scenario.plan.gpus} GPUs of {scenario.cluster.name}, simulated"
    return {name: predict(scenario).timeline}


def _measured(file: Path, step: int | None) -> "tuple[int, dict[str, Timeline]]":
    """Return the number of GPUs of the trace in *file*, and the timelines of its ranks in *step*, by name."""
    from lbsim.measurements.trace import read_trace
    from lbsim.measurements.trace_timeline import measured_timeline, typical_step

    try:
        trace = read_trace(file)
        chosen = typical_step(trace) if step is None else step
    except InputError as error:
        text = str(error)
        raise InputError(f"--trace {text if text.startswith(str(file)) else f'{file}: {text}'}") from None
    ranks = sorted((one for one in trace.timelines if one.step == chosen), key=lambda one: one.rank)
    if not ranks:
        last = max((one.step for one in trace.timelines), default=None)
        raise InputError(f"--step {chosen}: {file} has {'no steps' if last is None else f'steps 0 to {last}'}")
    return trace.gpus, {
        f"rank {one.rank}, step {chosen} of {file.name}, measured": measured_timeline(one) for one in ranks
    }
