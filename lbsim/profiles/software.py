"""Software profiles: framework, kernel library and communication library."""

import math
from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from lbsim.profiles.hardware import RelativeSpeed
from lbsim.profiles.profile import Profile, Table, by_name
from lbsim.profiles.tuning import Tuning
from lbsim.units import Bytes, Efficiency, Exponent, Factor, Seconds, Share

__all__ = ["Kernels", "Library", "Protocol", "Software"]


class Kernels(Profile):
    """Profile of a kernel library: the fractions of an accelerator's rated figures that its kernels reach.

    `lbsim.compute.roofline` documents the model that uses these numbers.
    """

    kind: ClassVar[str] = "kernels"

    vector_efficiency: Efficiency
    """Fraction of peak that matrix products and convolutions without Winograd reach without tensor cores."""
    winograd_speedup: Factor
    """Speedup of 3x3 and 5x5 convolutions of stride 1 without tensor cores; Winograd needs fewer products."""
    tensor_efficiency: Efficiency
    """Fraction of peak that tensor cores reach when peak over memory bandwidth equals *tensor_intensity*."""
    tensor_intensity: Factor
    """FLOP per byte (peak over memory bandwidth) at which *tensor_efficiency* holds."""
    tensor_falloff: Exponent
    """Exponent with which that fraction falls as peak over memory bandwidth grows."""
    tensor_square_speedup: Factor
    """Speedup of 3x3 and 5x5 convolutions of stride 1 on tensor cores."""
    memory_efficiency: Efficiency
    """Fraction of the rated memory bandwidth that kernels reach."""
    backward_efficiency: Efficiency
    """Efficiency of backward products relative to forward products."""
    channel_granule: int = Field(ge=1)
    """Channels are padded to a multiple of this number, or of half of it if they are at most half."""
    channel_exponent: Exponent
    """Exponent of the padding ratio in the slowdown of narrow convolutions."""


class _Concise(Table):
    """Base class of tables whose dump omits the optional fields that a profile does not set."""

    optional: ClassVar[frozenset[str]] = frozenset()
    """Fields that a dump has only if they are set."""

    @model_serializer(mode="wrap")
    def _set_fields(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = self.optional - self.model_fields_set
        return {name: value for name, value in dump(self).items() if name not in unset}


class Protocol(_Concise):
    """Message protocol of a library, such as NCCL's LL: low start-up cost, or close to the links' bandwidth."""

    optional = frozenset({"name", "algorithms", "architectures", "overlap", "efficiency_across", "copies", "approach"})

    per_collective: Seconds
    """Seconds to start a collective."""
    per_step: Seconds
    """Seconds per step of a collective; of steps inside a node only if *per_step_inside* is None."""
    per_step_inside: Seconds | None = None
    """Seconds per step that stays inside a node; None takes *per_step*."""
    efficiency: Efficiency = 1.0
    """Factor on the links' efficiency."""
    tree_efficiency: tuple[Efficiency, ...] = ()
    """Efficiency of trees relative to a ring, as in `Library`."""
    only_over: str = ""
    """Required prefix of the name of the link inside a node; otherwise the protocol is not used."""
    not_across: str = ""
    """Suffix of the name of the link between nodes over which the protocol is not used."""
    name: str = ""
    """Name in the library's tuning model, such as ``LL128``; empty if the library has none."""
    algorithms: tuple[str, ...] = ()
    """Algorithms that these costs apply to; all if empty."""
    architectures: tuple[str, ...] = ()
    """First letters of the accelerator architectures that these costs apply to; all if empty."""
    overlap: bool = False
    """Whether latency and bytes of a step overlap, see `Fabric`; *efficiency* is then that of the rated link inside a
    node."""
    efficiency_across: Efficiency = 1.0
    """Factor on the efficiency of the links between nodes, with *overlap*."""
    copies: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Copies of a GPU's own shard per out-of-place collective, at the rate of the links, with *overlap*."""
    approach: Seconds = 0.0
    """Seconds k by which the rate is approached: bytes that take X seconds take sqrt(k X) more, with *overlap*."""


class Library(Profile, _Concise):
    """Profile of a communication library: the costs that it adds to the links' times.

    The fields describe its default protocol. Each message uses the fastest of all its protocols, so that the
    efficiency is a function of the message size.
    """

    kind: ClassVar[str] = "libraries"
    optional = frozenset({"launch", "release", "tuning"})

    per_collective: Seconds
    """Seconds to start a collective."""
    per_step: Seconds
    """Seconds per step of a collective; of steps inside a node only if *per_step_inside* is None."""
    per_step_inside: Seconds | None = None
    """Seconds per step that stays inside a node; None takes *per_step*."""
    tree_efficiency: tuple[Efficiency, ...] = ()
    """Bandwidth of trees relative to a ring, for messages of 64 B, 128 B and so on; 1 if empty."""
    protocols: tuple[Protocol, ...] = ()
    """Protocols in addition to the default one, which the fields above describe."""
    segments: int = Field(default=1, ge=1)
    """Segments per message and step; a segment is sent while earlier ones wait for their latency."""
    stages: int = Field(default=1, ge=1)
    """Pipeline stages of a message in each step, such as a copy to a buffer and the transfer."""
    streams: int = Field(default=1, ge=1)
    """Collectives that may run concurrently."""
    launch: Seconds = 0.0
    """Seconds per collective that a benchmark adds, such as the launch of a kernel; 0 if launches run ahead."""
    release: tuple[int, ...] = ()
    """Version, such as ``[2, 28]``; empty if none is given."""
    tuning: Annotated[Tuning | None, by_name("tunings")] = None
    """Model by which the library chooses algorithm and protocol; None takes the fastest by `closed_form`."""

    @property
    def start_up(self) -> float:
        """Seconds to launch and start a collective."""
        return self.per_collective + self.launch

    def tree_share(self, message: float) -> float:
        """Return the bandwidth of trees relative to a ring for *message* bytes, interpolated in log2 of the size.

        >>> library = Library(name="-", source="-", per_collective=0.0, per_step=0.0, tree_efficiency=(1.0, 0.5))
        >>> [round(library.tree_share(message), 2) for message in (8, 64, 96, 1e9)]
        [1.0, 1.0, 0.71, 0.5]
        """
        if not self.tree_efficiency:
            return 1.0
        position = min(max(0.0, math.log2(message / 64)), len(self.tree_efficiency) - 1.0) if message else 0.0
        below, above = (self.tree_efficiency[at] for at in (math.floor(position), math.ceil(position)))
        return below + (above - below) * (position % 1)


class Software(Profile):
    """Profile of a framework with its libraries, as it runs data-parallel training."""

    kind: ClassVar[str] = "software"

    kernels: Annotated[Kernels, by_name("kernels")]
    library: Annotated[Library, by_name("libraries")]
    speed: RelativeSpeed = RelativeSpeed()
    """Calibrated speed of the framework relative to the model; multiplies the accelerator's."""
    year: int | None = Field(default=None, ge=2012, le=2100)
    """Approximate year of release; None for a current release."""
    fitted_rates: int = Field(default=0, ge=0)
    """Number of published rates with this software in the fit of its speed and kernel time."""
    kernel_time: Seconds
    """Seconds per kernel that the framework adds."""
    fused: bool
    """Whether ReLU and addition are fused into the preceding kernel."""
    multi_tensor_update: bool
    """Whether the optimizer updates many tensors per kernel instead of one."""
    step_overhead: Seconds = 0.0
    """Seconds per step on more than one GPU that communication does not explain."""
    input_overhead: Share = 0.0
    """Fraction of compute time that real input costs; 0 for synthetic input."""
    straggler_spread: Share
    """Standard deviation of one rank's step time, as a fraction of it."""
    overlap_slowdown: Share = 0.0
    """Fraction by which compute takes longer while communication runs."""
    fusion_copies: int = Field(default=2, ge=0)
    """Copies of each gradient per step between its tensor and the fusion buffer."""
    reserved_memory: Bytes
    """Bytes of each accelerator's memory for context, workspaces, communication buffers and fragmentation."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Default values of fields of the plan with this software."""
