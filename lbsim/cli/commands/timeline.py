"""``lbsim timeline``: the simulated step, a measured one, or both, as a file for trace viewers.

What the command alone needs is imported where it is used: late, for start-up time alone.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli.options import asking_for_a_question, scenario_of
from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.scenario.request import ScenarioRequest

if TYPE_CHECKING:
    from lbsim.simulation.timeline import Timeline


@asking_for_a_question
def timeline(
    question: ScenarioRequest,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Written in the Chrome trace format.")],
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A measured trace of steps, alone or beside the scenario's step."),
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="Of the trace. Default: the one of the most nearly median length.")
    ] = None,
) -> None:
    """Write the simulated step, or a measured one, or both, as a trace that Perfetto and chrome://tracing open.

    With --trace the scenario has as many GPUs as the trace, and if nothing is said of a scenario the trace is alone.

    For example:  lbsim timeline --gpus 1024 --cluster mn-1 --out step.json
    """
    from lbsim.simulation import chrome_trace

    processes: dict[str, Timeline] = {}
    if trace is not None:
        gpus, processes = _measured(trace, step)
        told = bool(question.changes or len(question.tables) > 1 or question.tables["plan"])
        if told:
            tables = {**question.tables, "plan": {"gpus": gpus} | question.tables["plan"]}
            processes = _simulated(ScenarioRequest(tables, question.changes, question.folders)) | processes
    elif step is not None:
        raise InputError("--step is of a measured trace; write --trace FILE too")
    else:
        processes = _simulated(question)
    try:
        out.write_text(json.dumps(chrome_trace.timelines_to_chrome_trace(processes), allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    spans = sum(len(one.spans) for one in processes.values())
    typer.echo(f"{out}: {spans} spans; open it at https://ui.perfetto.dev")


def _simulated(question: ScenarioRequest) -> "dict[str, Timeline]":
    scenario = scenario_of(question)
    name = f"{Path(scenario.model).name} on {scenario.plan.gpus} GPUs of {scenario.cluster.name}, simulated"
    return {name: predict(scenario).timeline}


def _measured(file: Path, step: int | None) -> "tuple[int, dict[str, Timeline]]":
    """Return the GPUs of the trace in *file*, and each rank's timeline of its *step* by a name; each from its start."""
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
