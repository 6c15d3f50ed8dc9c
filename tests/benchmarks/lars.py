"""Time LARS over ResNet-50's 161 tensors beside torch's foreach SGD: python tests/benchmarks/lars.py

The two, and LARS one tensor after the other, take turns; the ratio of the medians is what is promised: LARS at most 1.5
times SGD, and faster than the loop.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from lbsim.harness import models
from lbsim.harness.optimizers.lars import LARS, lars
from lbsim.harness.training.optimizer import adapted

REPEATS = 30
DECAY, TRUST, MOMENTUM, RATE = 1e-4, 1e-3, 0.9, 0.1


def weights(device: torch.device) -> list[torch.nn.Parameter]:
    """Return ResNet-50's parameters, with gradients."""
    parameters = list(models.build_model("resnet50", (3, 224, 224), 1000).to(device).parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def steps(device: torch.device) -> dict[str, Callable[[], object]]:
    """Return a step of each contestant, all with momentum and weight decay."""
    ours, theirs, looped = weights(device), weights(device), weights(device)
    groups = [
        {"params": [w for w in ours if adapted(w)], "weight_decay": DECAY},
        {"params": [w for w in ours if not adapted(w)], "trust": 0.0},
    ]
    scaled = LARS(groups, lr=RATE, trust=TRUST, momentum=MOMENTUM)
    sgd = torch.optim.SGD(theirs, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, foreach=True)
    velocities = [torch.zeros_like(weight) for weight in looped]

    @torch.no_grad()
    def loop() -> None:
        for index, weight in enumerate(looped):
            trust = TRUST if adapted(weight) else 0.0
            if weight.grad is not None:
                after, velocities[index] = lars(weight, weight.grad, velocities[index], RATE, trust, MOMENTUM, DECAY)
                weight.copy_(after)

    return {"LARS": scaled.step, "torch's foreach SGD": sgd.step, "LARS, a tensor at a time": loop}


def measured(device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each step, taken in turns after a few to warm up."""
    contestants = steps(device)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(REPEATS + 5):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= 5:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: dict[str, list[float]], one: str = "LARS", other: str = "torch's foreach SGD") -> float:
    """Return the median of one over that of the other."""
    return statistics.median(times[one]) / statistics.median(times[other])


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    result = measured(chosen)
    for name, seconds in result.items():
        low, high = min(seconds) * 1e3, max(seconds) * 1e3
        print(f"{name}: {statistics.median(seconds) * 1e3:.2f} ms ({low:.2f} to {high:.2f})")
    beside_loop = ratio(result, other="LARS, a tensor at a time")
    print(f"LARS against SGD: {ratio(result):.2f}; against the loop: {beside_loop:.2f}")
