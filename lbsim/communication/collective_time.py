"""Microbenchmark times: an isolated collective or message, as in nccl-tests and the OSU benchmarks."""

from collections.abc import Callable
from dataclasses import dataclass

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Algorithm, Fabric, closed_form, scenario_fabric
from lbsim.communication.operations import OPERATIONS, Operation
from lbsim.communication.selection import fastest_protocol
from lbsim.errors import InputError
from lbsim.profiles.hardware import Link
from lbsim.profiles.slow_parts import with_slowest_links
from lbsim.scenario.scenario import Scenario

__all__ = ["MICROBENCHMARKS", "Timing", "plan_algorithm", "point_to_point_link", "time_all_reduce", "time_collective"]


@dataclass(frozen=True)
class Timing:
    """Isolated collective and its time."""

    collective: Collective
    fabric: Fabric
    """Fabric with the protocol that the message uses."""

    @property
    def operation(self) -> Operation:
        """Operation of the collective."""
        return OPERATIONS[self.collective.operation.replace("_", "-")]

    @property
    def message(self) -> float:
        """Bytes of the message, the largest buffer of one GPU."""
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
        """Bytes per second, :math:`2(n-1)/n S/t` for an all-reduce: link bandwidth that an optimal algorithm would use.

        The factor of each operation is in `lbsim.communication.operations`. NVIDIA nccl-tests, doc/PERFORMANCE.md.
        """
        return self.operation.bus_factor(self.fabric.gpus) * self.algorithmic_bandwidth


def time_all_reduce(scenario: Scenario, message: float) -> Timing:
    """Return the time of the plan's all-reduce of *message* bytes; slow parts slow all links.

    InputError if the plan has a single GPU or the algorithm does not fit the number of GPUs.

    >>> timing = time_all_reduce(Scenario.of(gpus=1024, cluster="mn-1", all_reduce="ring"), 100 * 2**20)
    >>> [phase.steps for phase in timing.collective.phases]
    [1023, 1023]
    """
    return time_collective(scenario, message, OPERATIONS["all-reduce"])


def time_collective(scenario: Scenario, message: float, operation: Operation, algorithm: str | None = None) -> Timing:
    """Return the time of *operation* on *message* bytes over all GPUs of *scenario*; slow parts slow all links.

    An *algorithm* of None takes the plan's for an all-reduce, and the operation's default otherwise.

    InputError if the plan has a single GPU, or the algorithm does not exist or does not fit the number of GPUs.

    >>> timing = time_collective(Scenario.of(gpus=8, cluster="dgx-1-v100"), 2**20, OPERATIONS["all-gather"])
    >>> timing.collective.algorithm, round(timing.bus_bandwidth / timing.algorithmic_bandwidth, 3)
    ('ring', 0.875)
    """
    gpus = scenario.plan.gpus
    if gpus == 1:
        raise InputError(f"plan.gpus: 1 GPU has no {operation.name}; use --gpus 2 or more")
    fabric = scenario_fabric(scenario, with_slowest_links(scenario.cluster, gpus), gpus)
    return Timing(*fastest_protocol(message, plan_algorithm(scenario, operation, algorithm), fabric))


def plan_algorithm(scenario: Scenario, operation: Operation, algorithm: str | None = None) -> Algorithm:
    """Return the *algorithm* of *operation* by name; None takes the plan's, or the operation's default.

    InputError, with the closest name, if there is no such algorithm.
    """
    planned = scenario.plan.all_reduce if operation.kind == "all_reduce" else None
    return operation.algorithm(algorithm or planned)


def point_to_point_link(scenario: Scenario) -> Link:
    """Return the link between two GPUs of *scenario*: the link between nodes if it uses several nodes."""
    cluster = scenario.cluster
    return cluster.intra_node if scenario.plan.gpus <= cluster.gpus_per_node else cluster.inter_node


def _operation_time(name: str) -> Callable[[Scenario, float], float]:
    return lambda scenario, message: time_collective(scenario, message, OPERATIONS[name]).time


MICROBENCHMARKS: dict[str, Callable[[Scenario, float], float]] = {
    "all_reduce_time": lambda scenario, message: time_all_reduce(scenario, message).time,
    "all_gather_time": _operation_time("all-gather"),
    "reduce_scatter_time": _operation_time("reduce-scatter"),
    "all_to_all_time": _operation_time("all-to-all"),
    "bus_bandwidth": lambda scenario, message: time_all_reduce(scenario, message).bus_bandwidth,
    "message_time": lambda scenario, message: point_to_point_link(scenario).time(message),
    "message_rate": lambda scenario, _: (
        point_to_point_link(scenario).efficiency * point_to_point_link(scenario).bandwidth
    ),
}
"""Functions of a scenario and the bytes of a message that return a quantity in SI: time of a collective, bus bandwidth
of an all-reduce, time of a message between two GPUs, and bandwidth of many concurrent messages between two GPUs."""
