"""Requirements of reductions in NVLink switches: hardware and library."""

from lbsim.communication.fabric import Fabric
from lbsim.errors import InputError

__all__ = ["require_nvls"]


def require_nvls(algorithm: str, fabric: Fabric) -> None:
    """Raise InputError if the switches of a node of *fabric*, or its library, cannot reduce.

    NCCL 2.18.1 release notes: NVLink SHARP; NVSwitch of third generation, first with Hopper (GH100). A variant of a
    fabric with one protocol has been checked when the protocol was selected.
    """
    if fabric.protocol is not None:
        return
    tuning = fabric.library.tuning
    if tuning is None:
        raise InputError(f"plan.all_reduce: {fabric.library.name} has no {algorithm}; use --library nccl-2.18 or later")
    chip = tuning.architecture(fabric.architecture)
    if chip is None or chip.nvls is None or not fabric.intra_node.name.startswith("nvlink"):
        what = f"{fabric.architecture or 'unnamed'} chips over {fabric.intra_node.name}"
        first = next((name for name, row in tuning.architectures.items() if row.nvls is not None), "none")
        raise InputError(
            f"plan.all_reduce: {algorithm} needs NVSwitches that reduce, which {what} lack; {first} is the first chip"
        )
