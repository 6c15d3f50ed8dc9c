"""``lbsim timeline``: the simulated step as a file for trace viewers."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lbsim.errors import InputError
from lbsim.options import asking_for_a_scenario
from lbsim.predict import predict
from lbsim.scenario import Scenario


@asking_for_a_scenario
def timeline(
    scenario: Scenario,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Written in the Chrome trace format.")],
) -> None:
    """Write the simulated step as a trace that Perfetto and chrome://tracing open.

    For example:  lbsim timeline --gpus 1024 --cluster mn-1 --out step.json
    """
    from lbsim import chrome_trace  # late, for start-up time alone

    prediction = predict(scenario)
    name = f"{Path(scenario.model).name} on {scenario.plan.gpus} GPUs of {scenario.cluster.name}, simulated"
    trace = chrome_trace.of_timeline(prediction.timeline, name)
    try:
        out.write_text(json.dumps(trace, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    typer.echo(f"{out}: {len(prediction.timeline.spans)} spans; open it at https://ui.perfetto.dev")
