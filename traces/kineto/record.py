"""Record a profile of three steps of three linear layers, whose gradients two processes average over Gloo.

Run ``python record.py 1 & python record.py 0``: rank 0 writes gloo-2-ranks.json beside this file.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.profiler import ProfilerActivity, profile


def main(rank: int) -> None:
    """Train five steps to warm up and record three."""
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29577", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    samples, labels = torch.randn(64, 256), torch.randint(0, 10, (64,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(samples), labels).backward()
        for parameter in net.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= 2
        optimizer.step()

    for _ in range(5):
        step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        for _ in range(3):
            step()
    if rank == 0:
        recorded.export_chrome_trace(str(Path(__file__).parent / "gloo-2-ranks.json"))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]))
