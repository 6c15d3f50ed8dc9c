"""What the processes of test_communication.py run: steps with one engine, after which they say what they have."""

import json
import os
import sys
import time

import torch
from torch import nn

from lbsim.errors import InputError
from lbsim.harness.communication import CommunicationOptions
from lbsim.harness.ddp import attach
from lbsim.harness.process_group import CommunicationError, joined

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


def batch(ranks, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ranks, BATCH, 20, generator=generator) * scale


def loss(net, x):
    return net(x).square().mean()


def errors(place, case):
    """Return the largest error of any gradient, relative to the largest gradient of its tensor, of one case."""
    case = dict(case)
    engine, unused, scale = case.pop("engine", "lbsim"), case.pop("unused", False), case.pop("scale", 1.0)
    passes = case.pop("passes", 1)
    alone, net = model(unused=unused), model(unused=unused)
    x = batch(place.ranks, scale)
    loss(alone, x.flatten(0, 1)).backward()
    forward, communication = attach(engine, net, CommunicationOptions.of(**case))
    worst = 0.0
    for _ in range(2):
        net.zero_grad()
        for number in range(passes):
            if number == passes - 1:
                communication.begin_step()
            (loss(forward, x[place.rank]) / passes).backward()
        communication.finish_step()
        for mine, right in zip(net.parameters(), alone.parameters(), strict=True):
            expected = torch.zeros_like(right) if right.grad is None else right.grad
            worst = max(worst, float((mine.grad - expected).abs().max() / expected.abs().max().clamp_min(1e-12)))
    communication.close()
    return worst


def main(what):
    with joined(what.get("timeout", 30), gpu=False) as place:
        if what.get("dies") == place.rank:
            os._exit(1)
        if what.get("hangs") == place.rank:
            time.sleep(what["timeout"] + 6)
            os._exit(1)
        for case in what["cases"]:
            print(errors(place, case), flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except CommunicationError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(3)
