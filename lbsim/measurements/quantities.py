"""Quantities that can be measured, with the dimension of each."""

from dataclasses import fields

from lbsim.simulation.metrics import Breakdown
from lbsim.units import DATA_RATE, SAMPLE_RATE, TIME, Dimension

__all__ = ["ALL_REDUCES", "QUANTITIES"]

ALL_REDUCES: dict[str, Dimension] = {
    "all_reduce_time": TIME,
    "all_gather_time": TIME,
    "reduce_scatter_time": TIME,
    "all_to_all_time": TIME,
    "bus_bandwidth": DATA_RATE,
}
"""Quantities of one isolated collective; only cluster, library and algorithm affect them."""
QUANTITIES: dict[str, Dimension | None] = {
    "throughput": SAMPLE_RATE,
    "throughput_per_gpu": SAMPLE_RATE,
    "step_time": TIME,
    "scaling_efficiency": None,
    "scaling_efficiency_vs_node": None,
    "time_to_train": TIME,
    "communication_time": TIME,
    **{f"breakdown.{field.name}": TIME for field in fields(Breakdown)},
    **ALL_REDUCES,
}
"""Dimension of each quantity of a case, by its key in a prediction's JSON; None for a dimensionless one."""
