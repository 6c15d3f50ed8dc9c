"""One-line descriptions of profiles, models and all-reduce algorithms."""

from functools import singledispatch

from lbsim.profiles.hardware import Accelerator, Cluster, Link
from lbsim.profiles.module_catalog import find_module
from lbsim.profiles.profile import Profile
from lbsim.profiles.software import Library, Software
from lbsim.scenario.scenario import find_workload
from lbsim.units import COMPUTE_RATE, DATA, DATA_RATE, TIME

__all__ = ["all_reduce_text", "calibrated_text", "describe", "model_text"]


@singledispatch
def describe(profile: Profile) -> str:
    """Return the main figures of a profile of hardware or software, with units; of any other profile, its source."""
    return profile.source


@describe.register
def _(profile: Accelerator) -> str:
    half = f", {COMPUTE_RATE.short(profile.peak.fp16, 3)} fp16" if profile.peak.fp16 else ""
    arithmetic = f"{profile.architecture}, {COMPUTE_RATE.short(profile.peak.fp32, 3)} fp32{half}"
    return f"{arithmetic}, {DATA.short(profile.memory, 3)} at {DATA_RATE.short(profile.memory_bandwidth, 3)}"


@describe.register
def _(profile: Link) -> str:
    bandwidth = f"{DATA_RATE.short(profile.bandwidth, 3)} at {profile.efficiency:.0%}"
    return f"{bandwidth}, latency {TIME.short(profile.latency, 2)}"


@describe.register
def _(profile: Cluster) -> str:
    nics = f"{profile.nics} x {profile.inter_node.name}"
    inside = f"{profile.gpus_per_node} x {profile.accelerator.name} a node"
    return f"{inside}, {profile.intra_node.name} inside, {nics} between"


@describe.register
def _(profile: Library) -> str:
    return f"{TIME.short(profile.per_collective, 2)} a collective, {TIME.short(profile.per_step, 2)} a step"


@describe.register
def _(profile: Software) -> str:
    return f"kernels of {profile.kernels.name}, communication by {profile.library.name}"


def calibrated_text(profile: Profile) -> str:
    """Return which values of *profile* were fitted, to what, and the remaining error.

    A cluster without fitted values of its own is described by its accelerator and its links.
    """
    if profile.calibrated or not isinstance(profile, Cluster):
        return profile.calibrated or "not calibrated"
    parts = {
        profile.accelerator.name: profile.accelerator,
        f"in a node, {profile.intra_node.name}": profile.intra_node,
        f"between nodes, {profile.inter_node.name}": profile.inter_node,
    }
    return ". ".join(f"{name}: {calibrated_text(part)}" for name, part in parts.items())


def model_text(name: str) -> str:
    """Return the parameters of the model *name*, and its floating-point operations for one sample."""
    model = find_workload(name)
    return f"{model.parameters / 1e6:,.1f} M parameters, {model.forward_flops / 1e9:,.1f} GFLOP forward a sample"


def all_reduce_text(name: str) -> str:
    """Return the first paragraph of the docstring of the all-reduce algorithm *name*."""
    text = find_module("all_reduce", name).__doc__ or ""
    return " ".join(text.strip().split("\n\n")[0].split())
