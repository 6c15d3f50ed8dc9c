"""``lbsim explain``: where the efficiency goes, and what would help.

What the command alone needs is imported where it is used: late, for start-up time alone.
"""

from lbsim.cli import json_output
from lbsim.cli.options import Format, FormatOption, scenario_options
from lbsim.cli.terminal import print_json, print_table
from lbsim.scenario.scenario import Scenario


@scenario_options
def explain(scenario: Scenario, output: FormatOption = Format.TABLE) -> None:
    """Say where the efficiency goes, cause by cause, and what each lever is worth.

    For example:  lbsim explain --gpus 1024 --cluster mn-1 --software chainer-2017
    """
    from lbsim.analysis.explain import explain as explain_scenario

    explanation = explain_scenario(scenario)
    if output is Format.JSON:
        print_json(json_output.explanation_json(explanation))
    else:
        from lbsim.cli.tables.advice import explanation_table

        print_table(explanation_table(explanation))
