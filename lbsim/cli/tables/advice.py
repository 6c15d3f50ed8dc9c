"""What holds a step back and what would help, as tables."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from lbsim.cli.tables._layout import heading, pairs, shares
from lbsim.units import DATA, SAMPLE_RATE

if TYPE_CHECKING:
    # for their names alone; they are imported where they are made, for start-up time
    from lbsim.analysis.explain import Explanation
    from lbsim.analysis.tune import Tuning


def explanation_table(explanation: "Explanation") -> RenderableType:
    """Return where the step goes as a waterfall, and the levers, the most worth first."""
    step = explanation.prediction.step_time
    causes = [(cause.name, cause.seconds) for cause in explanation.causes]
    levers = [(lever.name, f"{lever.gain:+.1%}") for lever in explanation.levers]
    return Group(
        Text(explanation.sentence),
        heading("Where a step's time goes, cause by cause"),
        shares([*causes, ("step", step)], step),
        heading("What each change would be worth"),
        pairs(levers),
    )


def tuning_table(tuning: "Tuning") -> RenderableType:
    """Return what to change, what that gains and what to paste."""
    changes = [
        (path.removeprefix("plan."), DATA.short(value) if path.endswith("threshold") else str(value))
        for path, value in tuning.changes.items()
    ]
    gains = [
        ("throughput", f"{SAMPLE_RATE.short(tuning.after.throughput)}, {tuning.gain:+.1%}"),
        ("if the network is otherwise", f"{tuning.gain_low:+.1%} to {tuning.gain_high:+.1%}"),
        ("plans tried", f"{tuning.tried:,}"),
    ]
    told = Group(*(Text(f"  {line}") for line in tuning.settings or ("nothing to set",)))
    return Group(
        Text("The quickest plan", style="bold"),
        pairs(changes or [("as it is", "nothing that was tried is faster")]),
        heading("What it gains"),
        pairs(gains),
        heading("What to set, where it runs"),
        told,
    )
