"""What can be bought: accelerators, links and the clusters made of them."""

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

Precision = Literal["fp32", "tf32", "mixed", "bf16"]
"""Of compute. ``mixed`` is fp16 forward, backward and gradients with fp32 master weights."""


class Peak(Table):
    """Rated arithmetic rates, dense, by number format. What a card lacks is left out."""

    fp32: FlopsPerSecond
    tf32: FlopsPerSecond | None = None
    fp16: FlopsPerSecond | None = None
    bf16: FlopsPerSecond | None = None


class RelativeSpeed(Table):
    """How fast something runs compared with the law in `lbsim.compute.roofline`, by class of arithmetic; 1 is equal."""

    vector: Factor = 1.0
    """Arithmetic on the ordinary cores: fp32, and fp16 where there are no tensor cores."""
    tf32: Factor = 1.0
    tensor: Factor = 1.0
    """Tensor cores in fp16 or bf16."""


class Accelerator(Profile):
    """One device that computes: a GPU, one die of a two-die card, a KNL, or a two-socket CPU node."""

    kind: ClassVar[str] = "accelerators"

    architecture: str
    """The chip, e.g. ``GP102``; cards of one architecture share calibrated speeds."""
    peak: Peak
    tensor_cores: bool = False
    memory: Bytes
    memory_bandwidth: BytesPerSecond
    launch_overhead: Seconds = 0.0
    """What the device itself adds to each kernel."""
    speed: RelativeSpeed = RelativeSpeed()
    fitted_rates: int = Field(default=0, ge=0)
    """Published rates of this device that its speed was fitted to; with none it is as its architecture's others."""


class Link(Profile):
    """A link, one direction, one endpoint."""

    kind: ClassVar[str] = "links"

    latency: Seconds
    """Of an empty message, one hop."""
    bandwidth: BytesPerSecond
    """Rated, one direction, one endpoint."""
    efficiency: Efficiency = 1.0
    """The share of the rated bandwidth that large messages reach."""

    def time(self, message: float) -> float:
        r"""Return the seconds that *message* bytes take to cross, in the α-β model.

        .. math:: t = \alpha + S / (e B)

        Good from about 1 MiB up; below that libraries change protocol and this is too quick or too slow
        by up to a factor of two.

        R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2,"
        Parallel Computing 20(3), 1994.

        >>> Link(name="ib-edr", source="-", latency=2e-6, bandwidth=12.5e9).time(25e6)
        0.002002
        """
        return self.latency + message / (self.efficiency * self.bandwidth)

    def slowed(self, factor: float) -> "Link":
        """Return a link on which every message takes *factor* times as long."""
        return self.model_copy(update={"latency": self.latency * factor, "bandwidth": self.bandwidth / factor})


class SlowPart(Table):
    """One GPU, or nodes, unlike the rest: a part that fails slowly, or another card or network.

    Factors say how many times as long it takes; 1 is as the rest, less than 1 quicker.
    """

    gpu: int | None = Field(default=None, ge=0)
    """Counted from 0, nodes filled one after another."""
    node: int | None = Field(default=None, ge=0)
    """Counted from 0."""
    count: int = Field(default=1, ge=1)
    """GPUs or nodes that are so, from this one on."""
    compute: Factor = 1.0
    """Of its forward and backward."""
    intra_node: Factor = 1.0
    """Of what its links inside the node carry."""
    inter_node: Factor = 1.0
    """Of what its links between nodes carry; in a flat ring only a node's first and last GPU use them."""

    @model_validator(mode="after")
    def _one_place(self) -> "SlowPart":
        if (self.gpu is None) == (self.node is None):
            raise ValueError("a slow part is a gpu or a node; write e.g. {gpu = 17, compute = 1.3}")
        return self

    def gpus(self, gpus_per_node: int) -> range:
        """Return the GPUs that are meant."""
        first, each = (self.gpu, 1) if self.gpu is not None else ((self.node or 0) * gpus_per_node, gpus_per_node)
        return range(first, first + self.count * each)


def _tables(what: str, example: str) -> Callable[[Any], Any]:
    """Return what reads a list of tables from text too, as after --set: TOML's inline tables."""

    def read(given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return tomllib.loads(f"given = {given}")["given"]
        except tomllib.TOMLDecodeError:
            raise ValueError(f"'{given}' is no list of {what}; write e.g. [{example}]") from None

    return read


class Switch(Table):
    """A level of an oversubscribed tree of switches."""

    nodes: int = Field(ge=1)
    """Below each switch of this level."""
    taper: float = Field(ge=1, allow_inf_nan=False)
    """What those nodes can send together over what the switch can pass up: 1 is a full fat tree."""


class Cluster(Profile):
    """Equal nodes of equal accelerators, a link inside each node and a link between nodes."""

    kind: ClassVar[str] = "clusters"

    accelerator: Annotated[Accelerator, by_name("accelerators")]
    gpus_per_node: int = Field(ge=1)
    intra_node: Annotated[Link, by_name("links")]
    """Between two GPUs of a node: what one GPU can send to another while it receives as much."""
    inter_node: Annotated[Link, by_name("links")]
    """One NIC's."""
    nics: int = Field(default=1, ge=1)
    """Network ports of a node that an all-reduce uses."""
    switches: Annotated[tuple[Switch, ...], BeforeValidator(_tables("switches", "{nodes = 16, taper = 2}"))] = ()
    """Levels of switches between nodes that pass up less than comes in; none where the network is full."""
    jobs: int = Field(default=1, ge=1)
    """Jobs, this one among them, that load the switches alike."""
    host: Annotated[Link | None, by_name("links")] = None
    """From a host's memory to one GPU; none when it cannot limit."""
    decode_rate: SamplesPerSecond | None = None
    """What a node's processors decode and augment; none when input does not limit."""
    node_spread: Share = 0.0
    """Standard deviation between nodes of how long they compute, as a share of it; a node keeps its own."""
    slow: Annotated[tuple[SlowPart, ...], BeforeValidator(_tables("slow parts", "{gpu = 17, compute = 1.3}"))] = ()
    """GPUs and nodes that are unlike the rest, by number."""
    node_mtbf: Annotated[float, Quantity(TIME)] | None = None
    """Mean time between failures of one node; if none, another cluster's is assumed, see `lbsim.accuracy.run_time`."""
    restart: Seconds = 300.0
    """Until steps go on after a failure. Five minutes are assumed where no source says."""
    checkpoint_bandwidth: BytesPerSecond = 1e9
    """What one node writes to shared storage. Assumed where no source says: Llama 3's storage sustains 2 TB/s for the
    2,048 nodes that it trained on, 0.98 GB/s each; arXiv:2407.21783, section 3.3.1."""
