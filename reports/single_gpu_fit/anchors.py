"""Ask the published rates which part of an anchor's surplus is constant a step.

    python reports/single_gpu_fit/anchors.py

Two rates of one GPU, model, precision and software that differ in the batch alone: one is the anchor, the other is
predicted. The software's own fitted values are not used, as if it had never been seen; none of the pairs is a row of
the systems that lbsim is to reproduce.
"""

import itertools
import math
from collections import defaultdict

import numpy as np
from fit import summary

from lbsim.compute.roofline import compute_times
from lbsim.evaluation.single_gpu.rates import kernel_time, rates
from lbsim.measurements.observation import Observation
from lbsim.profiles.hardware import RelativeSpeed


def times(row: Observation) -> tuple[float, float]:
    """Return the seconds of compute and of the update of *row* with a software that nobody has fitted."""
    software = row.scenario.software
    unknown = software.model_copy(update={"kernel_time": kernel_time(software.name, {}), "speed": RelativeSpeed()})
    found = compute_times(row.scenario.model_copy(update={"software": unknown}))
    return found.input_overhead + found.forward + found.backward, found.update


def errors(share: float, pairs: list[tuple[Observation, Observation]]) -> np.ndarray:
    """Return the logarithms of predicted over observed when *share* of an anchor's surplus is constant."""
    found = []
    for anchor, other in pairs:
        (then, update), (now, update_now) = times(anchor), times(other)
        factor = (anchor.value - update) / then
        constant = max(0.0, factor - 1) * share
        found.append(math.log(((factor - constant) * now + constant * then + update_now) / other.value))
    return np.array(found)


def pairs(differ: str) -> list[tuple[Observation, Observation]]:
    """Return each rate and another of the same source, model, card and software with another *batch* or *precision*."""
    series: dict[tuple[str, str, str, str], list[Observation]] = defaultdict(list)
    for row in rates("calibrate"):
        scenario = row.scenario
        if row.case.quantity == "throughput":
            names = (scenario.model, scenario.cluster.accelerator.name, scenario.software.name)
            series[row.case.system, *names].append(row)
    return [
        (anchor, other)
        for group in series.values()
        for anchor, other in itertools.permutations(group, 2)
        if (anchor.scenario.plan.precision != other.scenario.plan.precision) == (differ == "precision")
        and (differ == "precision" or anchor.scenario.plan.batch_per_gpu != other.scenario.plan.batch_per_gpu)
    ]


def main() -> None:
    """Print the errors for shares from none to all."""
    found = pairs("batch")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        print(f"{share:.0%} constant: {summary(errors(share, found))}")


if __name__ == "__main__":
    main()
