"""Times all-reduces by size, algorithm and precision, as nccl-tests does."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from typing import get_args

import torch

from lbsim.errors import InputError
from lbsim.harness.bench.evidence import evidence
from lbsim.harness.communication import collectives
from lbsim.harness.communication.options import DTYPES, CommunicationOptions, Precision
from lbsim.harness.communication.process_group import Ranks, gathered, together
from lbsim.harness.communication.step_recorder import clock
from lbsim.measurements.trace import Trace, TraceEntry

TYPES: dict[Precision, str] = {"fp32": "float", "fp16": "half", "bf16": "bfloat16"}
"""As nccl-tests calls them."""
HEADER = f"{'size':>12} {'count':>12} {'type':>9} {'redop':>6} {'time':>10} {'algbw':>8} {'busbw':>8}"
UNITS = f"{'(B)':>12} {'(elements)':>12} {'':>9} {'':>6} {'(us)':>10} {'(GB/s)':>8} {'(GB/s)':>8}"


def measure(
    place: Ranks,
    *,
    sizes: Sequence[float],
    algorithms: Sequence[str],
    precisions: Sequence[str],
    options: CommunicationOptions,
    repeats: int,
    progress: Callable[[], None],
) -> Trace:
    """Return the times of all-reduces of *sizes* bytes, one after another without a pause, after a warm-up.

    A sample is one all-reduce, averaged over ranks as nccl-tests does; *progress* is called after each kind of them.
    """
    place.require_same({"sizes": sizes, "algorithms": algorithms, "precisions": precisions, "repeats": repeats})
    together(lambda: _check(place, sizes, algorithms, precisions, options))
    stands_on = evidence(place)  # before it adds to the load
    observations = []
    for name in algorithms:
        way = collectives.algorithm(name, options.group_size, options.hybrid_threshold, options.timeout)
        for precision, size in product(precisions, sizes):
            dtype = DTYPES[precision]  # type: ignore[index]  # checked
            count = max(1, round(size / dtype.itemsize / way.multiple)) * way.multiple
            samples = list(_samples(place, way, torch.zeros(count, dtype=dtype, device=place.device), repeats))
            message = count * dtype.itemsize
            settings = {"all_reduce": name, "carrier": way.carrier(message), "precision": precision, "message": message}
            observations.append(TraceEntry(quantity="all_reduce", settings=settings, samples=_over_ranks(samples)))
            progress()
    return Trace(
        measured="all-reduce",
        evidence=stands_on,
        gpus=place.size,
        settings={"repeats": repeats, "group_size": options.group_size, "samples": "mean over ranks, back to back"},
        observations=tuple(observations),
    )


def rows(trace: Trace) -> Iterator[str]:
    """Yield the lines of *trace* in nccl-tests' columns, a heading for each algorithm."""
    heading = None
    for observation in trace.observations:
        settings = observation.settings
        if settings["all_reduce"] != heading:
            heading = settings["all_reduce"]
            yield from (f"# all_reduce {heading}, {trace.gpus} ranks", f"#{HEADER[1:]}", f"#{UNITS[1:]}")
        precision, message = settings["precision"], settings["message"]
        count = int(message) // DTYPES[precision].itemsize  # type: ignore[arg-type, index]  # of our own making
        yield row(float(message), count, str(precision), observation.median, trace.gpus)  # type: ignore[arg-type]


def row(message: float, count: int, precision: str, seconds: float, gpus: int) -> str:
    r"""Return one line: bus bandwidth is :math:`2(n-1)/n \cdot S/t`, what each link carries whatever the ranks.

    nccl-tests, doc/PERFORMANCE.md.

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


def _samples(place: Ranks, way: collectives.AllReduce, flat: torch.Tensor, repeats: int) -> Iterator[float]:
    timer = clock(place.device)
    for _ in range(max(3, repeats // 4)):
        way(flat)
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)
    marks = [timer.mark()]
    for _ in range(repeats):
        way(flat)
        marks.append(timer.mark())
    yield from (timer.between(start, end) for start, end in pairwise(marks))


def _over_ranks(samples: list[float]) -> tuple[float, ...]:
    everyones = gathered(samples)
    return tuple(round(sum(each) / len(each), 8) for each in zip(*everyones, strict=True))


def _check(
    place: Ranks,
    sizes: Sequence[float],
    algorithms: Sequence[str],
    precisions: Sequence[str],
    options: CommunicationOptions,
) -> None:
    if place.size == 1:
        raise InputError(
            "one process has nobody to reduce with; write torchrun --nproc-per-node 2 -m lbsim.harness.bench all-reduce"
        )
    strange = [precision for precision in precisions if precision not in get_args(Precision)]
    if strange:
        raise InputError(f"--precisions: no '{strange[0]}'; there are: {', '.join(get_args(Precision))}")
    for name in algorithms:
        CommunicationOptions.of(all_reduce=name)
        if name != "backend":
            collectives.checked_group_size(options.group_size)
    faults = [size for size in sizes if not 1 <= size <= 2**36]
    if faults or not sizes:
        raise InputError(f"--sizes: {faults[0] if faults else 'none'}; write sizes from 1 B to 64 GiB, e.g. '8 B'")
