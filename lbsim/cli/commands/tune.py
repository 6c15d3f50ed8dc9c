"""``lbsim tune``: search for the fastest communication plan, and its settings.

Imports that only this command needs are inside the function, to keep start-up short.
"""

from typing import Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.options import Format, FormatOption, scenario_options
from lbsim.cli.terminal import print_json, print_table
from lbsim.scenario.scenario import Scenario

__all__ = ["tune"]


@scenario_options
def tune(
    scenario: Scenario,
    most_batch: Annotated[
        int | None,
        typer.Option(metavar="SAMPLES", help="Also try larger batches per GPU: doublings up to this, within memory."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Find the fastest all-reduce, fusion policy and gradient precision, and print the settings to use.

    For example:  lbsim tune --gpus 1024 --cluster mn-1 --software horovod-pytorch
    """
    from lbsim.analysis.tune import tune as tune_scenario

    tuning = tune_scenario(scenario, most_batch)
    if output is Format.JSON:
        print_json(json_output.tuning_json(tuning))
    else:
        from lbsim.cli.tables.advice import tuning_table

        print_table(tuning_table(tuning))
