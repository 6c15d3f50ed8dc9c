"""``lbsim explain``: causes of lost scaling efficiency, and the gain of possible changes.

Imports that only this command needs are inside the function, to keep start-up short.
"""

from lbsim.cli import json_output
from lbsim.cli.options import Format, FormatOption, scenario_options
from lbsim.cli.terminal import print_json, print_table
from lbsim.scenario.scenario import Scenario

__all__ = ["explain"]


@scenario_options
def explain(scenario: Scenario, output: FormatOption = Format.TABLE) -> None:
    """Show what scaling efficiency is lost to, cause by cause, and the gain of each possible change.

    For example:  lbsim explain --gpus 1024 --cluster mn-1 --software chainer-2017
    """
    from lbsim.analysis.explain import explain as explain_scenario

    explanation = explain_scenario(scenario)
    if output is Format.JSON:
        print_json(json_output.explanation_json(explanation))
    else:
        from lbsim.cli.tables.advice import explanation_table

        print_table(explanation_table(explanation))
