"""Tables of ``lbsim explain`` and ``lbsim tune``."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from lbsim.cli.tables._layout import heading, pairs, shares
from lbsim.units import DATA, SAMPLE_RATE

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.analysis.explain import Explanation
    from lbsim.analysis.tune import Tuning

__all__ = ["explanation_table", "tuning_table"]


def explanation_table(explanation: "Explanation") -> RenderableType:
    """Return the time of a step by cause, and the gain of each possible change, largest first."""
    step = explanation.prediction.step_time
    causes = [(cause.name, cause.seconds) for cause in explanation.causes]
    levers = [(lever.name, f"{lever.gain:+.1%}") for lever in explanation.levers]
    return Group(
        Text(explanation.sentence),
        heading("Step time by cause"),
        shares([*causes, ("step", step)], step),
        heading("Gain in throughput of each change"),
        pairs(levers),
    )


def tuning_table(tuning: "Tuning") -> RenderableType:
    """Return the changes of the fastest plan, their gain, and the settings to use."""
    changes = [
        (path.removeprefix("plan."), DATA.short(value) if path.endswith("threshold") else str(value))
        for path, value in tuning.changes.items()
    ]
    gains = [
        ("throughput", f"{SAMPLE_RATE.short(tuning.after.throughput)}, {tuning.gain:+.1%}"),
        ("with another network", f"{tuning.gain_low:+.1%} to {tuning.gain_high:+.1%}"),
        ("plans tried", f"{tuning.tried:,}"),
    ]
    settings = Group(*(Text(f"  {line}") for line in tuning.settings or ("none",)))
    return Group(
        Text("Fastest plan", style="bold"),
        pairs(changes or [("unchanged", "no plan that was tried is faster")]),
        heading("Gain"),
        pairs(gains),
        heading("Settings"),
        settings,
    )
