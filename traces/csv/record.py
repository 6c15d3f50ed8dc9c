"""Measure all-reduces of fp32 over Gloo on two processes, and write them as a table.

Run ``python record.py 1 & python record.py 0``: rank 0 writes gloo-2-ranks.csv beside this file.
"""

import sys
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist

_REPEATS = 30


def main(rank: int) -> None:
    """Measure sizes from 1 KiB to 16 MiB, each many times after three to warm up."""
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29578", rank=rank, world_size=2)
    torch.set_num_threads(1)
    lines = [
        f"# torch {torch.__version__}, Gloo, 2 processes on one machine, median of {_REPEATS}, fp32",
        "quantity,value,message,relative_uncertainty,plan.gpus",
    ]
    for size in (2**power for power in range(10, 25, 2)):
        times = measured(torch.zeros(size // 4))
        middle = median(times)
        spread = 1.25 * 1.4826 * median(abs(one - middle) for one in times) / len(times) ** 0.5 / middle
        lines.append(f"all_reduce_time,{middle * 1e6:.2f} us,{size} B,{spread:.4f},2")
    if rank == 0:
        Path(__file__).with_name("gloo-2-ranks.csv").write_text("\n".join(lines) + "\n")
    dist.barrier()
    dist.destroy_process_group()


def measured(message: torch.Tensor) -> list[float]:
    """Return the seconds of each all-reduce of *message*."""
    times = []
    for number in range(_REPEATS + 3):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(message)
        if number >= 3:
            times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main(int(sys.argv[1]))
