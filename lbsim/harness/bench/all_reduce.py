"""Benchmark of all-reduces by size, algorithm and precision, as nccl-tests does."""

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import get_args

import torch

from lbsim.errors import InputError
from lbsim.harness.bench.options import AllReduceOptions
from lbsim.harness.bench.provenance import provenance
from lbsim.harness.communication import collectives
from lbsim.harness.communication.options import DTYPES, CommunicationOptions, CommunicationPrecision
from lbsim.harness.communication.process_group import ProcessGroup, all_gather, on_all_ranks
from lbsim.harness.communication.step_recorder import clock
from lbsim.measurements.trace import Trace, TraceEntry

__all__ = ["measure", "row", "rows"]

TYPES: dict[CommunicationPrecision, str] = {"fp32": "float", "fp16": "half", "bf16": "bfloat16"}
"""Names of the precisions in nccl-tests."""
HEADER = f"{'size':>12} {'count':>12} {'type':>9} {'redop':>6} {'time':>10} {'algbw':>8} {'busbw':>8}"
UNITS = f"{'(B)':>12} {'(elements)':>12} {'':>9} {'':>6} {'(us)':>10} {'(GB/s)':>8} {'(GB/s)':>8}"
LARGEST = 2**36
"""Bytes of the largest message."""


def measure(group: ProcessGroup, options: AllReduceOptions, progress: Callable[[], None] = lambda: None) -> Trace:
    """Return the seconds of all-reduces that run one after another without a pause, after a warm-up.

    A sample is the time of one all-reduce, averaged over ranks as nccl-tests does. All ranks of *group* call this
    together; *progress* is called after each size. Raises InputError on all ranks for options that are invalid or
    differ between ranks.
    """
    group.require_same({name: getattr(options, name) for name in ("sizes", "algorithms", "precisions", "repeats")})
    on_all_ranks(lambda: _check(group, options))
    source = provenance(group)  # before the benchmark adds to the load
    communication, observations = options.communication, []
    for name in options.algorithms:
        algorithm = collectives.algorithm(
            name, communication.group_size, communication.hybrid_threshold, communication.timeout
        )
        for precision, size in product(options.precisions, options.sizes):
            dtype = DTYPES[precision]  # type: ignore[index]  # checked
            count = max(1, round(size / dtype.itemsize / algorithm.multiple)) * algorithm.multiple
            flat = torch.zeros(count, dtype=dtype, device=group.device)
            samples = list(_samples(group, algorithm, flat, options.repeats))
            message = count * dtype.itemsize
            carrier = algorithm.carrier(message)
            settings = {"all_reduce": name, "carrier": carrier, "precision": precision, "message": message}
            samples_mean = _mean_over_ranks(samples)
            observations.append(TraceEntry(quantity="all_reduce", settings=settings, samples=samples_mean))
            progress()
    return Trace(
        measured="all-reduce",
        evidence=source,
        gpus=group.size,
        settings={
            "repeats": options.repeats,
            "group_size": communication.group_size,
            "samples": "mean over ranks, back to back",
        },
        observations=tuple(observations),
    )


def rows(trace: Trace) -> Iterator[str]:
    """Yield the lines of *trace* in nccl-tests' columns, with a heading per algorithm."""
    heading = None
    for observation in trace.observations:
        settings = observation.settings
        if settings["all_reduce"] != heading:
            heading = settings["all_reduce"]
            yield from (f"# all_reduce {heading}, {trace.gpus} ranks", f"#{HEADER[1:]}", f"#{UNITS[1:]}")
        precision, message = settings["precision"], settings["message"]
        count = int(message) // DTYPES[precision].itemsize  # type: ignore[arg-type, index]  # written by measure
        yield row(float(message), count, str(precision), observation.median, trace.gpus)  # type: ignore[arg-type]  # written by measure


def row(message: float, count: int, precision: str, seconds: float, gpus: int) -> str:
    r"""Return one line in nccl-tests' columns.

    Bus bandwidth is :math:`2(n-1)/n \cdot S/t`, the bandwidth of each link for any number of ranks: nccl-tests,
    doc/PERFORMANCE.md. *message* is in bytes, *count* in elements.

    >>> row(1048576, 262144, "fp32", 1e-3, 4).split()
    ['1048576', '262144', 'float', 'sum', '1000.00', '1.049', '1.573']
    """
    algorithm_bandwidth = message / seconds / 1e9
    bus_bandwidth = algorithm_bandwidth * 2 * (gpus - 1) / gpus
    kind = TYPES[precision]  # type: ignore[index]  # checked
    return (
        f"{message:>12.0f} {count:>12} {kind:>9} {'sum':>6} "
        f"{seconds * 1e6:>10.2f} {algorithm_bandwidth:>8.3f} {bus_bandwidth:>8.3f}"
    )


def _samples(
    group: ProcessGroup, algorithm: collectives.AllReduceAlgorithm, flat: torch.Tensor, repeats: int
) -> Iterator[float]:
    timer = clock(group.device)
    for _ in range(max(3, repeats // 4)):
        algorithm(flat)
    if group.device.type == "cuda":
        torch.cuda.synchronize(group.device)
    marks = [timer.mark()]
    for _ in range(repeats):
        algorithm(flat)
        marks.append(timer.mark())
    yield from (timer.between(start, end) for start, end in pairwise(marks))


def _mean_over_ranks(samples: list[float]) -> tuple[float, ...]:
    return tuple(round(sum(each) / len(each), 8) for each in zip(*all_gather(samples), strict=True))


def _check(group: ProcessGroup, options: AllReduceOptions) -> None:
    if group.size == 1:
        raise InputError(
            "an all-reduce needs two ranks; write torchrun --nproc-per-node 2 -m lbsim.harness.bench all-reduce"
        )
    unsupported = [precision for precision in options.precisions if precision not in get_args(CommunicationPrecision)]
    if unsupported:
        valid = ", ".join(get_args(CommunicationPrecision))
        raise InputError(f"--precisions: no '{unsupported[0]}'; there are: {valid}")
    for name in options.algorithms:
        CommunicationOptions.of(all_reduce=name)
        if name != "backend":
            collectives.checked_group_size(options.communication.group_size)
    invalid = [size for size in options.sizes if not 1 <= size <= LARGEST]
    if invalid or not options.sizes:
        raise InputError(f"--sizes: {invalid[0] if invalid else 'none'}; write sizes from 1 B to 64 GiB, e.g. '8 B'")
