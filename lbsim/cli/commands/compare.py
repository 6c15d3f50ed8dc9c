"""``lbsim compare``: differences between two scenarios and their predictions.

Tables are imported inside the function, to keep start-up short.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lbsim.cli.compare import Difference
from lbsim.cli.compare import compare as compare_predictions
from lbsim.cli.options import Format, FormatOption, ProfilesOption, request_from, scenario_from
from lbsim.cli.terminal import print_json, print_table
from lbsim.predict import predict

__all__ = ["compare"]

_HELP = "Scenario: TOML with a [scenario] table, or JSON printed by lbsim predict --format json."


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help=_HELP)],
    second: Annotated[Path, typer.Argument(metavar="B", help=_HELP)],
    profile_dirs: ProfilesOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Predict two scenarios, and show every difference in their inputs and predictions.

    For example:  lbsim compare before.json after.json
    """
    compared = compare_predictions(
        *(predict(scenario_from(request_from(file, profile_dirs=profile_dirs))) for file in (first, second))
    )
    if output is Format.JSON:
        print_json({"inputs": [*map(asdict, compared.inputs)], "outputs": [*map(_with_ratio, compared.outputs)]})
    else:
        from lbsim.cli.tables.comparison import comparison_table

        print_table(comparison_table(compared, (str(first), str(second))))


def _with_ratio(difference: Difference) -> dict[str, Any]:
    return asdict(difference) | {"ratio": difference.ratio}
