"""What runs on the hardware: a framework, its mathematics library and its communication library."""

import math
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lbsim.profiles.hardware import RelativeSpeed
from lbsim.profiles.profile import Profile, Table, by_name
from lbsim.units import Bytes, Efficiency, Exponent, Factor, Seconds, Share


class Kernels(Profile):
    """A mathematics library's kernels: which share of an accelerator's rated figures they reach.

    `lbsim.compute.roofline` says how the numbers are used.
    """

    kind: ClassVar[str] = "kernels"

    vector_efficiency: Efficiency
    """Share of peak that products and ordinary convolutions reach without tensor cores."""
    winograd_speedup: Factor
    """Of 3x3 and 5x5 convolutions of stride 1 without tensor cores; above 1 because Winograd needs fewer products."""
    tensor_efficiency: Efficiency
    """Share of peak that tensor cores reach where peak over memory bandwidth is *tensor_intensity*."""
    tensor_intensity: Factor
    """FLOP a byte, at which *tensor_efficiency* holds."""
    tensor_falloff: Exponent
    """Power with which that share falls as peak outgrows memory bandwidth."""
    tensor_square_speedup: Factor
    """Of the same convolutions on tensor cores."""
    memory_efficiency: Efficiency
    """Share of memory bandwidth that is reached."""
    backward_efficiency: Efficiency
    """Of backward products compared with forward."""
    channel_granule: int = Field(ge=1)
    """Channels are padded to a multiple of this; half of it when there are no more than half."""
    channel_exponent: Exponent
    """Power of the padding by which narrow convolutions are slower."""


class Protocol(Table):
    """One way in which a library moves messages, such as NCCL's LL: quick to start, or near the links' bandwidth."""

    per_collective: Seconds
    """To start a collective."""
    per_step: Seconds
    """To each step of a collective that crosses nodes, and to others unless *per_step_inside* says so."""
    per_step_inside: Seconds | None = None
    """To each step that stays inside a node."""
    efficiency: Efficiency = 1.0
    """Share of what the links reach."""
    tree_efficiency: tuple[Efficiency, ...] = ()
    """As of the library."""
    only_over: str = ""
    """What the name of the link inside a node must start with for the protocol to be used."""
    not_across: str = ""
    """What the name of the link between nodes must not end with, if it is crossed."""


class Library(Profile):
    """A communication library: what it adds to the links' own times.

    It has one protocol of its own, and may have others, each used for the messages for which it is the quickest: so
    its efficiency is a curve in the message's size.
    """

    kind: ClassVar[str] = "libraries"

    per_collective: Seconds
    """To start a collective."""
    per_step: Seconds
    """To each step of a collective that crosses nodes, and to others unless *per_step_inside* says so."""
    per_step_inside: Seconds | None = None
    """To each step that stays inside a node."""
    tree_efficiency: tuple[Efficiency, ...] = ()
    """Share of what a ring reaches that trees do, with messages of 64 B, 128 B and so on; 1 unless said."""
    protocols: tuple[Protocol, ...] = ()
    """Others than the one that the fields above describe."""
    segments: int = Field(default=1, ge=1)
    """That a message travels in within each step, each while those before it wait for their latency."""
    stages: int = Field(default=1, ge=1)
    """That a message passes in each step, one fragment behind the other, such as a copy to a buffer and the wire."""
    streams: int = Field(default=1, ge=1)
    """Collectives that may be under way at once."""

    def tree_share(self, message: float) -> float:
        """Return the share of what a ring reaches that trees of *message* bytes do, between the sizes that are said.

        >>> library = Library(name="-", source="-", per_collective=0.0, per_step=0.0, tree_efficiency=(1.0, 0.5))
        >>> [round(library.tree_share(message), 2) for message in (8, 64, 96, 1e9)]
        [1.0, 1.0, 0.71, 0.5]
        """
        if not self.tree_efficiency:
            return 1.0
        place = min(max(0.0, math.log2(message / 64)), len(self.tree_efficiency) - 1.0) if message else 0.0
        below, above = (self.tree_efficiency[at] for at in (math.floor(place), math.ceil(place)))
        return below + (above - below) * (place % 1)


class Software(Profile):
    """A framework and the libraries under it, as it runs data-parallel training."""

    kind: ClassVar[str] = "software"

    kernels: Annotated[Kernels, by_name("kernels")]
    library: Annotated[Library, by_name("libraries")]
    speed: RelativeSpeed = RelativeSpeed()
    """The framework's own, on top of its kernels'."""
    year: int | None = Field(default=None, ge=2012, le=2100)
    """Of its release, about; of a current one nothing need be said."""
    fitted_rates: int = Field(default=0, ge=0)
    """Published rates with this software that its speed and kernel time were fitted to."""
    kernel_time: Seconds
    """What the framework adds to each kernel."""
    fused: bool
    """Whether ReLU and addition are done on the way by the kernel before them."""
    multi_tensor_update: bool
    """Whether the optimizer updates all tensors in a few kernels, not each in its own."""
    step_overhead: Seconds = 0.0
    """Each step on more than one GPU, beyond what communication explains."""
    input_overhead: Share = 0.0
    """Share of compute that real input costs; synthetic input has none."""
    straggler_spread: Share
    """Standard deviation of one rank's step, as a share of it."""
    overlap_slowdown: Share = 0.0
    """Share by which compute takes longer while communication runs."""
    fusion_copies: int = Field(default=2, ge=0)
    """Times that each gradient is copied between its own memory and the fusion buffer."""
    reserved_memory: Bytes
    """Of each accelerator: context, workspaces, communication buffers, fragmentation."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Fields of the plan that this software uses when the user does not say."""
