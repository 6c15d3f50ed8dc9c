"""What the processes of test_communication.py run: steps with one engine, after which they say what they have."""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lbsim.errors import InputError
from lbsim.harness.communication.engines import attach
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import DTYPES, CommunicationOptions
from lbsim.harness.communication.process_group import CommunicationError, process_group

BATCH = 6


class Net(nn.Module):
    def __init__(self, unused):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(20, 33), nn.Linear(33, 17), nn.Linear(17, 5)
        if unused:
            self.never = nn.Linear(3, 3)

    def forward(self, x):
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))


def model(seed=0, *, unused=False):
    torch.manual_seed(seed)
    return Net(unused)


def batch(ranks):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ranks, BATCH, 20, generator=generator)


def loss(net, x):
    return net(x).square().mean()


def each_ranks_gradients(net, x, boost):
    """Return, parameter by parameter, the gradients that the ranks make of their own batches; zero for none."""
    parameters = list(net.parameters())
    ranks = [torch.autograd.grad(loss(net, own) * boost, parameters, allow_unused=True) for own in x]
    return [
        torch.stack([torch.zeros_like(p) if g is None else g for g in grads])
        for p, *grads in zip(parameters, *ranks, strict=True)
    ]


def errors(group, case):
    """Return the largest error of one case, relative to the largest gradient of a tensor and to what rounding allows.

    The bound: each of n gradients is rounded once, and the n-1 additions round once each, n u Σ|g|/n in all to first
    order, and below the normal numbers by half the smallest one each time.
    """
    case = dict(case)
    engine, unused, peak = case.pop("engine", "lbsim"), case.pop("unused", False), case.pop("peak", None)
    passes = case.pop("passes", 1)
    dtype = DTYPES[case.get("precision", "fp32")]
    net, x = model(unused=unused), batch(group.size)
    boost = 1.0 if peak is None else peak / max(float(g.abs().max()) for g in each_ranks_gradients(net, x, 1.0))
    all_gradients = each_ranks_gradients(net, x, boost)
    forward, communication = attach(engine, net, CommunicationOptions.of(**case))
    worst: dict[str, Any] = {"error": 0.0, "of_bound": 0.0, "largest": max(float(g.abs().max()) for g in all_gradients)}
    for _ in range(2):
        net.zero_grad()
        for number in range(passes):
            if number == passes - 1:
                communication.begin_step()
            (loss(forward, x[group.rank]) * boost / passes).backward()
        communication.finish_step()
        for mine, gradients in zip(net.parameters(), all_gradients, strict=True):
            difference = (mine.grad - gradients.double().mean(0)).abs()
            unit = torch.finfo(dtype).eps / 2
            smallest = torch.finfo(dtype).smallest_normal * unit
            bound = group.size * (1.01 * unit * gradients.abs().mean(0) + smallest)
            scale = gradients.mean(0).abs().max().clamp_min(1e-12)
            worst["error"] = max(worst["error"], float((difference / scale).max()))
            worst["of_bound"] = max(worst["of_bound"], float((difference / bound).max()))
    if isinstance(communication, FusionEngine):
        worst["buffers"] = [buffer.tensors for buffer in communication.buffers]
        worst["pace"] = asdict(communication.times) if communication.times else None
    communication.close()
    return worst


def threads_of_gloo():
    """Return the names of its threads in this process, once they have had a second to end."""
    for _ in range(20):
        names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
        left = sorted(name for name in names if "gloo" in name)
        if not left:
            break
        time.sleep(0.05)
    return left


def main(what):
    with process_group(what.get("timeout", 30), "cpu") as group:
        if what.get("dies") == group.rank:
            os._exit(1)
        if what.get("hangs") == group.rank:
            time.sleep(what["timeout"] + 6)
            os._exit(1)
        for case in what.get("faults", []):
            try:
                errors(group, case)
            except InputError as error:
                print(error, flush=True)
        for case in what["cases"]:
            print(json.dumps(errors(group, case)), flush=True)
    if what.get("threads_left"):
        print(json.dumps(threads_of_gloo()), flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except CommunicationError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(3)
