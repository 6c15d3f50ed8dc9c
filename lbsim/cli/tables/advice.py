"""Tables of ``lbsim explain`` and ``lbsim tune``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.tables._layout import heading, pairs, paragraph, shares, unwrapped
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
        paragraph(explanation.sentence),
        heading("Step time by cause"),
        shares([*causes, ("step", step)], step),
        heading("Gain in throughput of each change"),
        pairs(levers),
    )


def tuning_table(tuning: "Tuning") -> RenderableType:
    """Return the changes of the fastest plan, their gain, and the settings to paste into a shell and into Python."""
    changes = [
        (path.removeprefix("plan."), DATA.short(value) if path.endswith("threshold") else str(value))
        for path, value in tuning.changes.items()
    ]
    gains = [
        ("throughput", f"{SAMPLE_RATE.short(tuning.after.throughput)}, {tuning.gain:+.1%}"),
        ("with another network", f"{tuning.gain_low:+.1%} to {tuning.gain_high:+.1%}"),
        ("plans tried", f"{tuning.tried:,}"),
    ]
    exports = [f"export {setting}" for setting in tuning.environment]
    return Group(
        paragraph("Fastest plan", "bold"),
        pairs(changes or [("unchanged", "no plan that was tried is faster")]),
        heading("Gain"),
        pairs(gains),
        *_to_paste("Environment", exports),
        *_to_paste("Python", tuning.code),
        *([] if tuning.settings else [heading("Settings"), paragraph("  none")]),
    )


def _to_paste(title: str, lines: Sequence[str]) -> list[RenderableType]:
    return [heading(title), *map(unwrapped, lines)] if lines else []
