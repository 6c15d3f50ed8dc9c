"""What recording a step costs: python -m tests.harness.recording prints the median ratio and its quartiles."""

import time
from statistics import quantiles

import torch
from torch import nn

from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.step_recorder import StepRecorder, clock
from tests.harness import nets


def ratios(rounds):
    """Return, pair by pair, a recorded step's time over that of the bare step before it.

    Each of the 32 tensors is a buffer of its own, which makes the most marks.
    """
    net, x = nets.deep(), torch.randn(128, 512)
    parameters = list(net.named_parameters())
    recorder = StepRecorder(0, clock(x.device), [(name, p.numel()) for name, p in parameters])
    engine = FusionEngine(parameters, CommunicationOptions(fusion="none"))
    pairs = []
    for _ in range(rounds + 2):
        bare = _seconds(engine, net, x, None)
        pairs.append(_seconds(engine, net, x, recorder) / bare)
    engine.close()
    return pairs[2:]


def _seconds(engine, net, x, recorder):
    engine.recorder = recorder
    start = time.perf_counter()
    engine.begin_step()
    nn.functional.mse_loss(net(x), x).backward()
    engine.finish_step()
    return time.perf_counter() - start


if __name__ == "__main__":
    low, middle, high = quantiles(ratios(200), n=4)
    print(f"a recorded step takes {middle:.4f} times a bare one; half of the pairs lie in {low:.4f} to {high:.4f}")
