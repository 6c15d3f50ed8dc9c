"""Tables of ``lbsim collective``: one collective, or many in the columns of nccl-tests."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from lbsim.cli.tables._layout import Columns, heading, pairs, paragraph, unwrapped
from lbsim.units import DATA, DATA_RATE, TIME

if TYPE_CHECKING:
    # for annotations; importing them here would lengthen start-up
    from lbsim.communication.collective_time import Timing

__all__ = ["nccl_tests_table", "timing_table"]

_FP32 = 4
"""Bytes of a float, the default type of nccl-tests."""


def timing_table(timing: "Timing", done: Sequence[float] = ()) -> RenderableType:
    """Return one collective and its phases; *done* holds the finish time of each rank in seconds, if simulated."""
    rows = [
        ("time", TIME.short(timing.time)),
        ("algorithmic bandwidth", DATA_RATE.short(timing.algorithmic_bandwidth)),
        ("bus bandwidth", DATA_RATE.short(timing.bus_bandwidth)),
    ]
    rows += (
        [("rank by rank", f"first finishes after {TIME.short(min(done))}, last after {TIME.short(max(done))}")]
        if done
        else []
    )
    what = f"{timing.collective.algorithm} {timing.operation.name}"
    title = f"{what} of {DATA.short(timing.message)} over {timing.fabric.gpus:,} GPUs"
    return Group(paragraph(title, "bold"), pairs(rows), heading("Phases"), _phases(timing))


def nccl_tests_table(timings: "Iterable[Timing]") -> RenderableType:
    """Return the output format of nccl-tests for fp32 numbers, which its parsers can read."""
    lines = [
        f"#{'':53}out-of-place",
        f"#{'size':>12}{'count':>14}{'type':>8}{'redop':>8}{'root':>6}{'time':>11}{'algbw':>9}{'busbw':>9}",
        f"#{'(B)':>12}{'(elements)':>14}{'':22}{'(us)':>11}{'(GB/s)':>9}{'(GB/s)':>9}",
    ]
    for timing in timings:
        size, rate = round(timing.message), timing.algorithmic_bandwidth / DATA_RATE.units["GB/s"]
        bus = timing.bus_bandwidth / DATA_RATE.units["GB/s"]
        operation = timing.operation
        count = size // _FP32 // (timing.fabric.gpus if operation.sharded else 1)
        what = f"{size:>13}{count:>14}{'float':>8}{operation.reduction:>8}{operation.root:>6}"
        lines.append(f"{what}{timing.time / TIME.units['us']:>11.2f}{rate:>9.2f}{bus:>9.2f}")
    return Group(*map(unwrapped, lines))


def _phases(timing: "Timing") -> Columns:
    table = Columns()
    table.column("  name", min_width=26)
    for name in ("steps", "message", "links", "time"):
        table.column(name, justify="left" if name == "links" else "right")
    for phase in timing.collective.phases:
        links = ", ".join(link.replace("_", "-") for link in phase.links)
        time = TIME.short(timing.fabric.phase_time(phase))
        table.row(f"  {phase.name}", f"{phase.steps:,}", DATA.short(phase.message), links, time)
    return table
