"""Microbenchmark times: an isolated all-reduce or message, as in nccl-tests and the OSU benchmarks."""

from collections.abc import Callable
from dataclasses import dataclass

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form, fastest_protocol, scenario_fabric
from lbsim.errors import InputError
from lbsim.profiles.hardware import Link
from lbsim.profiles.module_catalog import find_module
from lbsim.profiles.slow_parts import with_slowest_links
from lbsim.scenario.scenario import Scenario

__all__ = ["MICROBENCHMARKS", "Timing", "point_to_point_link", "time_all_reduce"]


@dataclass(frozen=True)
class Timing:
    """Isolated all-reduce and its time."""

    collective: Collective
    fabric: Fabric
    """Fabric with the protocol that the message uses."""

    @property
    def message(self) -> float:
        """Bytes of the message."""
        return self.collective.message

    @property
    def time(self) -> float:
        """Seconds from start to end."""
        return closed_form(self.collective, self.fabric)

    @property
    def algorithmic_bandwidth(self) -> float:
        """Bytes of the message per second: S/t."""
        return self.message / self.time

    @property
    def bus_bandwidth(self) -> float:
        """Bytes per second, :math:`2(n-1)/n S/t`: the link bandwidth that an optimal algorithm would use.

        NVIDIA nccl-tests, doc/PERFORMANCE.md.
        """
        return 2 * (self.fabric.gpus - 1) / self.fabric.gpus * self.algorithmic_bandwidth


def time_all_reduce(scenario: Scenario, message: float) -> Timing:
    """Return the time of the plan's all-reduce of *message* bytes; slow parts slow all links.

    InputError if the plan has a single GPU or the algorithm does not fit the number of GPUs.

    >>> timing = time_all_reduce(Scenario.of(gpus=1024, cluster="mn-1", all_reduce="ring"), 100 * 2**20)
    >>> [phase.steps for phase in timing.collective.phases]
    [1023, 1023]
    """
    gpus = scenario.plan.gpus
    if gpus == 1:
        raise InputError("plan.gpus: 1 GPU has no all-reduce; use --gpus 2 or more")
    fabric = scenario_fabric(scenario, with_slowest_links(scenario.cluster, gpus), gpus)
    return Timing(*fastest_protocol(message, find_module("all_reduce", scenario.plan.all_reduce).all_reduce, fabric))


def point_to_point_link(scenario: Scenario) -> Link:
    """Return the link between two GPUs of *scenario*: the link between nodes if it uses several nodes."""
    cluster = scenario.cluster
    return cluster.intra_node if scenario.plan.gpus <= cluster.gpus_per_node else cluster.inter_node


MICROBENCHMARKS: dict[str, Callable[[Scenario, float], float]] = {
    "all_reduce_time": lambda scenario, message: time_all_reduce(scenario, message).time,
    "bus_bandwidth": lambda scenario, message: time_all_reduce(scenario, message).bus_bandwidth,
    "message_time": lambda scenario, message: point_to_point_link(scenario).time(message),
    "message_rate": lambda scenario, _: (
        point_to_point_link(scenario).efficiency * point_to_point_link(scenario).bandwidth
    ),
}
"""Functions of a scenario and the bytes of a message that return a quantity in SI: time and bus bandwidth of an
all-reduce, time of a message between two GPUs, and bandwidth of many concurrent messages between two GPUs."""
