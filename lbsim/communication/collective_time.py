"""How long one all-reduce, or one message, takes alone on its links: what nccl-tests and OSU's benchmarks measure."""

from collections.abc import Callable
from dataclasses import dataclass

from lbsim.communication.collective import Collective
from lbsim.communication.fabric import Fabric, closed_form, fastest_protocol, scenario_fabric
from lbsim.errors import InputError
from lbsim.profiles.catalog import find_module
from lbsim.profiles.hardware import Link
from lbsim.profiles.slow_parts import with_slowest_links
from lbsim.scenario.scenario import Scenario
from lbsim.units import DATA

_MOST_SIZES = 10_000


@dataclass(frozen=True)
class Timing:
    """One all-reduce and its time."""

    collective: Collective
    fabric: Fabric

    @property
    def message(self) -> float:
        """Bytes."""
        return self.collective.message

    @property
    def time(self) -> float:
        """Seconds from start to end."""
        return closed_form(self.collective, self.fabric)

    @property
    def algorithmic_bandwidth(self) -> float:
        """Bytes of the message a second: S/t."""
        return self.message / self.time

    @property
    def bus_bandwidth(self) -> float:
        """Bytes a second, :math:`2(n-1)/n S/t`: what links would carry if no algorithm sent more than it must.

        NVIDIA nccl-tests, doc/PERFORMANCE.md.
        """
        return 2 * (self.fabric.gpus - 1) / self.fabric.gpus * self.algorithmic_bandwidth


def message_size(text: str) -> float:
    """Return the bytes that *text* means; a whole number alone counts bytes, as nccl-tests has it.

    >>> message_size("100 MiB"), message_size("8")
    (104857600.0, 8.0)
    """
    try:
        size = float(text) if text.strip().isdecimal() else DATA.parse(text)
    except ValueError as error:
        raise InputError(f"size of a message: {error}") from None
    if not 0 < size < float("inf"):
        raise InputError(f"size of a message: '{text}' must be more than zero and finite; write e.g. '100 MiB'")
    return size


def time_all_reduce(scenario: Scenario, message: float) -> Timing:
    """Return how long the plan's all-reduce of *message* bytes takes; a slow part sets the pace.

    >>> timing = time_all_reduce(Scenario.of(gpus=1024, cluster="mn-1", all_reduce="ring"), 100 * 2**20)
    >>> [phase.steps for phase in timing.collective.phases]
    [1023, 1023]
    """
    gpus = scenario.plan.gpus
    if gpus == 1:
        raise InputError("plan.gpus: one GPU has nothing to reduce; write --gpus 2 or more")
    fabric = scenario_fabric(scenario, with_slowest_links(scenario.cluster, gpus), gpus)
    return Timing(*fastest_protocol(message, find_module("all_reduce", scenario.plan.all_reduce).all_reduce, fabric))


def point_to_point_link(scenario: Scenario) -> Link:
    """Return what two GPUs of *scenario* are joined by: between nodes, where there is more than one."""
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
"""Quantities, in SI, of one message alone: an all-reduce, a message between two GPUs, many such under way at once."""


def message_sizes(message: str | None, first: str, last: str | None, factor: float) -> tuple[float, ...]:
    """Return the bytes of *message*, or of each size from *first* to *last*, each *factor* times the one before.

    >>> message_sizes("1 KiB", "8", None, 2), message_sizes(None, "8", "64", 2)
    ((1024.0,), (8.0, 16.0, 32.0, 64.0))
    """
    if message is not None and last is None:
        return (message_size(message),)
    if last is None or message is not None:
        raise InputError("write --message '100 MiB' for one all-reduce, or --to '1 GiB' for a sweep from --from")
    if not 1 < factor < float("inf"):
        raise InputError(f"--factor: {factor:g} would never arrive; write a number above 1, e.g. 2")
    size, largest = message_size(first), message_size(last)
    if largest < size:
        raise InputError(f"--to: {DATA.short(largest)} is less than --from, {DATA.short(size)}")
    sizes = []
    while size <= largest * (1 + 1e-9):
        sizes.append(size)
        size *= factor
        if len(sizes) > _MOST_SIZES:
            raise InputError(f"--factor: {factor:g} makes more than {_MOST_SIZES:,} sizes; write a larger one, e.g. 2")
    return tuple(sizes)
