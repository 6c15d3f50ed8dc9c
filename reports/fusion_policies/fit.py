"""Fit a network on 4 and 8 GPUs, predict 16, and ask which fusion policy is best.

    python reports/fusion_policies/fit.py

`published.csv` holds the samples a second of HKBU-HPML/ddl-benchmarks at 30de09b, results/2020-05-29 (data of
S. Shi et al., arXiv:2005.13247): 8 nodes of 4 GPUs, three networks, three models, three policies: one buffer after
backward, no fusion with overlap, gradients merged with overlap. Compute is the 1-GPU row's. Fitted on the rows of 4 and
8 GPUs: the share of PCIe's bandwidth inside a node and, for each network, latency and share of bandwidth. Predicted:
16 GPUs.
"""

import csv
import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from lbsim import Scenario
from lbsim.communication.all_reduce import ring
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.optimal_fusion import completion_time, mg_wfbp
from lbsim.communication.selection import fastest_protocol
from lbsim.compute.gradients import ComputeTimes
from lbsim.compute.roofline import compute_times
from lbsim.profiles.hardware import Cluster
from lbsim.simulation.stragglers import expected_slowdown

HERE = Path(__file__).parent
NETWORKS = ("hkbu-10gbe", "hkbu-100gbe", "hkbu-ib")
NEARLY_EQUAL = 0.02
"""Policies that were measured closer than this are not expected to be told apart."""


@dataclass(frozen=True)
class Row:
    """One measured throughput."""

    id: str
    model: str
    cluster: str
    gpus: int
    policy: str
    batch_per_gpu: int
    rate: float

    @property
    def step(self) -> float:
        """Seconds."""
        return self.gpus * self.batch_per_gpu / self.rate

    @property
    def scenario(self) -> Scenario:
        """On one of the three networks, with its shipped values."""
        optimizer = "adam" if self.model.startswith("bert") else "sgd"
        return Scenario.of(
            gpus=self.gpus,
            cluster=self.cluster or NETWORKS[0],
            model=self.model,
            software="horovod-pytorch",
            batch_per_gpu=self.batch_per_gpu,
            precision="fp32",
            optimizer=optimizer,
        )


def read() -> list[Row]:
    """Return the measured rows."""
    with (HERE / "published.csv").open() as file:
        return [
            Row(r["id"], r["model"], r["cluster"], int(r["gpus"]), r["policy"], int(r["batch_per_gpu"]), float(r[RATE]))
            for r in csv.DictReader(file)
        ]


RATE = "samples_per_second"


def fitted(cluster: Cluster, values: np.ndarray) -> Cluster:
    """Return *cluster* with the parameters at *values*: logarithms relative to the shipped ones."""
    place = 1 + 2 * NETWORKS.index(cluster.name)
    inside, between = cluster.intra_node, cluster.inter_node
    return cluster.model_copy(
        update={
            "intra_node": inside.model_copy(update={"efficiency": inside.efficiency * math.exp(values[0])}),
            "inter_node": between.model_copy(
                update={
                    "latency": between.latency * math.exp(values[place]),
                    "efficiency": between.efficiency * math.exp(values[place + 1]),
                }
            ),
        }
    )


class Model:
    """Predicts steps, with compute from the 1-GPU row of each model."""

    def __init__(self, rows: list[Row]) -> None:
        self.compute: dict[str, ComputeTimes] = {}
        for row in rows:
            if row.gpus == 1:
                times = compute_times(row.scenario)
                self.compute[row.model] = times.scaled((row.step - times.update) / (times.forward + times.backward))
        self.scenarios = {row.id: row.scenario for row in rows}

    def step(self, row: Row, values: np.ndarray) -> float:
        """Return the predicted seconds of a step."""
        scenario = self.scenarios[row.id]
        software = scenario.software
        fabric = Fabric.of(fitted(scenario.cluster, values), software.library, row.gpus)
        times = self.compute[row.model].scaled(1 + expected_slowdown(software.straggler_spread, row.gpus))
        messages = [4.0 * gradient.elements for gradient in times.gradients]
        ready = [gradient.ready for gradient in times.gradients]

        def cost(message: float) -> float:
            return closed_form(*fastest_protocol(message, ring.all_reduce, fabric))

        if row.policy == "one-buffer":
            return times.forward + times.backward + cost(sum(messages)) + times.update
        cuts = list(range(len(messages) + 1))
        if row.policy == "merged":
            cuts = mg_wfbp(messages, ready, cost)
        return times.forward + completion_time(cuts, messages, ready, cost, software.overlap_slowdown) + times.update


def main() -> None:
    """Fit, predict, and print both."""
    rows = read()
    model = Model(rows)
    known = [row for row in rows if row.gpus in {4, 8}]
    unseen = [row for row in rows if row.gpus == 16]

    def residuals(values: np.ndarray) -> np.ndarray:
        errors = [math.log(model.step(row, values) / row.step) for row in known]
        return np.array([*(np.array(errors) / 0.03), *(values / 1.0)])

    values = least_squares(residuals, np.zeros(7), loss="soft_l1", diff_step=[1e-3], xtol=1e-3, ftol=1e-3).x
    for name in NETWORKS:
        cluster = fitted(model.scenarios[next(r.id for r in rows if r.cluster == name)].cluster, values)
        rate = cluster.inter_node.efficiency * cluster.inter_node.bandwidth / 1e9
        inside = cluster.intra_node.efficiency * cluster.intra_node.bandwidth / 1e9
        print(f"{name}: {cluster.inter_node.latency * 1e6:.1f} us, {rate:.2f} GB/s; inside a node {inside:.2f} GB/s")
    for what, group in (("fitted, 4 and 8 GPUs", known), ("predicted, 16 GPUs", unseen)):
        errors = np.array([model.step(row, values) / row.step - 1 for row in group])
        print(f"{what}: n {errors.size}, mean {np.abs(errors).mean():.1%}, worst {np.abs(errors).max():.1%}")
    told, pairs = 0, 0
    for first, second in combinations(unseen, 2):
        same = (first.model, first.cluster) == (second.model, second.cluster)
        if same and abs(first.step / second.step - 1) > NEARLY_EQUAL:
            pairs += 1
            right = (first.step < second.step) == (model.step(first, values) < model.step(second, values))
            told += right
            if not right:
                print(f"  wrong order: {first.model} on {first.cluster}, {first.policy} and {second.policy}")
    print(
        f"order of policies at 16 GPUs, where measured apart by more than {NEARLY_EQUAL:.0%}: {told} of {pairs} right"
    )
    for row in unseen:
        seconds = model.step(row, values)
        print(f"  {row.model:14} {row.cluster:12} {row.policy:10} {row.step:.3f} s {seconds / row.step - 1:+.1%}")


if __name__ == "__main__":
    main()
