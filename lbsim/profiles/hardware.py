"""Hardware profiles: accelerators, links, and clusters of both."""

import tomllib
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from lbsim.profiles.profile import Profile, Table, by_name
from lbsim.units import (
    TIME,
    Bytes,
    BytesPerSecond,
    Efficiency,
    Factor,
    FlopsPerSecond,
    Quantity,
    SamplesPerSecond,
    Seconds,
    Share,
)

__all__ = ["Accelerator", "Cluster", "Link", "Peak", "Precision", "RelativeSpeed", "SlowPart", "Switch"]

Precision = Literal["fp32", "tf32", "mixed", "bf16"]
"""Precision of compute. ``mixed``: fp16 forward, backward and gradients with fp32 master weights."""


class Peak(Table):
    """Rated dense arithmetic rates in FLOP/s by number format; None for a format that the accelerator lacks."""

    fp32: FlopsPerSecond
    tf32: FlopsPerSecond | None = None
    fp16: FlopsPerSecond | None = None
    bf16: FlopsPerSecond | None = None


class RelativeSpeed(Table):
    """Speed relative to the model of `lbsim.compute.roofline`, by class of arithmetic; 1 is equal."""

    vector: Factor = 1.0
    """Arithmetic without tensor cores: fp32, and fp16 on accelerators that have none."""
    tf32: Factor = 1.0
    """Tensor cores in tf32."""
    tensor: Factor = 1.0
    """Tensor cores in fp16 or bf16."""


class Accelerator(Profile):
    """Profile of a compute device: a GPU, one die of a two-die card, a KNL, or a two-socket CPU node."""

    kind: ClassVar[str] = "accelerators"

    architecture: str
    """Chip, e.g. ``GP102``; accelerators of the same architecture share calibrated speeds."""
    peak: Peak
    tensor_cores: bool = False
    """Whether products in fp16 and bf16 run on tensor cores."""
    memory: Bytes
    """Memory capacity in bytes."""
    memory_bandwidth: BytesPerSecond
    """Rated memory bandwidth, bytes per second, reads and writes together."""
    launch_overhead: Seconds = 0.0
    """Seconds per kernel that the device adds to the framework's kernel time."""
    speed: RelativeSpeed = RelativeSpeed()
    """Calibrated speed of this accelerator relative to the model."""
    fitted_rates: int = Field(default=0, ge=0)
    """Published rates of this accelerator in the fit of *speed*; if 0, the speed is its architecture's."""


class Link(Profile):
    """Profile of a link, for one direction and one endpoint."""

    kind: ClassVar[str] = "links"

    latency: Seconds
    """Seconds for an empty message over one hop."""
    bandwidth: BytesPerSecond
    """Rated bytes per second, one direction, one endpoint."""
    efficiency: Efficiency = 1.0
    """Fraction of the rated bandwidth that large messages reach."""

    @property
    def rate(self) -> float:
        """Bytes per second that large messages reach, one direction, one endpoint."""
        return self.efficiency * self.bandwidth

    def time(self, message: float) -> float:
        r"""Return the seconds that a message of *message* bytes takes on this link, by the α-β model.

        .. math:: t = \alpha + S / (e B)

        α is the latency, e the efficiency and B the bandwidth. Valid from about 1 MiB; for smaller messages libraries
        change protocol, and the time is too short or too long by up to a factor of two.

        R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2,"
        Parallel Computing 20(3), 1994.

        >>> Link(name="ib-edr", source="-", latency=2e-6, bandwidth=12.5e9).time(25e6)
        0.002002
        """
        return self.latency + message / (self.efficiency * self.bandwidth)

    def slowed(self, factor: float) -> "Link":
        """Return this link with every message taking *factor* times as long."""
        return self.model_copy(update={"latency": self.latency * factor, "bandwidth": self.bandwidth / factor})


class SlowPart(Table):
    """GPUs or nodes that are slower or faster than the rest: a degraded part, or another card or network.

    Each factor multiplies a time; 1 is the time of the other parts, less than 1 is faster.
    """

    gpu: int | None = Field(default=None, ge=0)
    """First GPU, counted from 0, with nodes filled in order."""
    node: int | None = Field(default=None, ge=0)
    """First node, counted from 0."""
    count: int = Field(default=1, ge=1)
    """Number of consecutive GPUs or nodes."""
    compute: Factor = 1.0
    """Factor on the time of forward and backward."""
    intra_node: Factor = 1.0
    """Factor on the time of messages inside the node."""
    inter_node: Factor = 1.0
    """Factor on the time of messages between nodes; in a flat ring, a node's first and last GPU send them."""

    @model_validator(mode="after")
    def _gpu_or_node(self) -> "SlowPart":
        if (self.gpu is None) == (self.node is None):
            raise ValueError("a slow part needs either gpu or node; write e.g. {gpu = 17, compute = 1.3}")
        return self

    def gpus(self, gpus_per_node: int) -> range:
        """Return the numbers of the slow GPUs in a cluster with *gpus_per_node* GPUs in each node."""
        first, each = (self.gpu, 1) if self.gpu is not None else ((self.node or 0) * gpus_per_node, gpus_per_node)
        return range(first, first + self.count * each)


def _tables(what: str, example: str) -> Callable[[Any], Any]:
    """Return a validator that also accepts the text of ``--set``: a TOML list of inline tables."""

    def read(given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return tomllib.loads(f"given = {given}")["given"]
        except tomllib.TOMLDecodeError:
            raise ValueError(f"'{given}' is not a list of {what}; write e.g. [{example}]") from None

    return read


class Switch(Table):
    """One level of an oversubscribed tree of switches."""

    nodes: int = Field(ge=1)
    """Nodes below each switch of this level."""
    taper: float = Field(ge=1, allow_inf_nan=False)
    """Total bandwidth of those nodes divided by the switch's uplink bandwidth; 1 in a full fat tree."""


class Cluster(Profile):
    """Profile of a cluster: equal nodes of equal accelerators, a link inside each node and a link between nodes."""

    kind: ClassVar[str] = "clusters"

    accelerator: Annotated[Accelerator, by_name("accelerators")]
    gpus_per_node: int = Field(ge=1)
    """Accelerators in each node."""
    intra_node: Annotated[Link, by_name("links")]
    """Link between two GPUs of a node: what a GPU sends while it receives as much."""
    inter_node: Annotated[Link, by_name("links")]
    """Link of one NIC."""
    nics: int = Field(default=1, ge=1)
    """NICs of a node that an all-reduce uses."""
    switches: Annotated[tuple[Switch, ...], BeforeValidator(_tables("switches", "{nodes = 16, taper = 2}"))] = ()
    """Oversubscribed switch levels between nodes; empty if the network has full bisection bandwidth."""
    jobs: int = Field(default=1, ge=1)
    """Number of jobs, including this one, that load the switches equally."""
    host: Annotated[Link | None, by_name("links")] = None
    """Link from host memory to one GPU; None if it never limits."""
    decode_rate: SamplesPerSecond | None = None
    """Samples per second that one node's CPUs decode and augment; None if input never limits."""
    node_spread: Share = 0.0
    """Standard deviation of compute time between nodes, as a fraction of it; constant in time for each node."""
    slow: Annotated[tuple[SlowPart, ...], BeforeValidator(_tables("slow parts", "{gpu = 17, compute = 1.3}"))] = ()
    """GPUs and nodes that are slower or faster than the rest."""
    node_mtbf: Annotated[float, Quantity(TIME)] | None = None
    """Mean seconds between failures of one node; None assumes another cluster's, see `lbsim.accuracy.training_run`."""
    restart: Seconds = 300.0
    """Seconds from a failure until steps continue; 300 s assumed without a source."""
    checkpoint_bandwidth: BytesPerSecond = 1e9
    """Bytes per second that one node writes to shared storage. Assumed without a source: Llama 3's storage sustains
    2 TB/s for its 2,048 nodes, 0.98 GB/s each; arXiv:2407.21783, section 3.3.1."""
