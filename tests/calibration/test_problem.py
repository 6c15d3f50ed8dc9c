import math
import random

import numpy as np
import pytest

from lbsim import Scenario, override
from lbsim.calibration.parameters import parameters
from lbsim.calibration.problem import CalibrationProblem, FixedSubset
from lbsim.calibration.transforms import from_unconstrained
from lbsim.communication.collective_time import MICROBENCHMARKS
from lbsim.errors import InputError
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.observation import Observation
from lbsim.simulation.metrics import ScenarioMetrics

PATHS = [
    "cluster.inter_node.latency",
    "cluster.inter_node.efficiency",
    "cluster.intra_node.efficiency",
    "cluster.host.bandwidth",
    "software.speed.vector",
    "software.kernel_time",
    "software.straggler_spread",
    "software.step_overhead",
    "software.library.per_step",
]
MACHINE = Scenario.of(gpus=4, cluster="hkbu-10gbe", software="horovod-pytorch", precision="fp32")
ANCHORED = Scenario.of(
    gpus=8,
    cluster="hkbu-10gbe",
    software="horovod-pytorch",
    precision="fp32",
    model="googlenet",
    anchor="300 samples/s",
)


def many():
    for gpus in (4, 16):
        here = override(MACHINE, {"plan.gpus": gpus, "model": "alexnet"})
        yield Observation(Measurement("throughput", 1.0), here)
        yield Observation(Measurement("scaling_efficiency", 1.0), here)
        yield Observation(Measurement("all_reduce_time", 1.0, message=1e6), here)
        yield Observation(Measurement("step_time", 1.0), override(ANCHORED, {"plan.gpus": gpus}))
        wide = override(ANCHORED, {"anchor.gpus": 4, "anchor.throughput": "900 samples/s", "plan.gpus": gpus})
        yield Observation(Measurement("step_time", 1.0), wide, relative_to=override(wide, {"cluster.nics": 2}))


@pytest.fixture(scope="module")
def problem():
    observations = list(many())
    return CalibrationProblem(observations, parameters((here for one in observations for here in one.scenarios), PATHS))


def directly(one, parameters, places):
    """Predict *one* with nothing kept from before."""
    found = []
    for scenario in one.scenarios:
        changes = {
            each.path: from_unconstrained(place, each.prior.transform)
            for each, place in zip(parameters, places, strict=True)
        }
        moved = override(scenario, changes)
        value = (
            ScenarioMetrics(moved).value(one.quantity)
            if one.message is None
            else MICROBENCHMARKS[one.quantity](moved, one.message)
        )
        found.append(math.log(value))
    return found[0] - sum(found[1:])


def test_what_is_kept_from_other_places_changes_no_prediction(problem):
    draw = random.Random(1)
    middle = np.array([one.prior.middle for one in problem.parameters])
    for moves in range(4):
        places = middle.copy()
        for k in draw.sample(range(len(places)), moves * 2):
            places[k] += draw.gauss(0, 0.3)
        direct = [directly(one, problem.parameters, places) for one in problem.observations]
        assert problem.logarithms(places.tolist()) == pytest.approx(np.array(direct), abs=1e-9)


def test_a_derivative_is_what_a_step_away_says(problem):
    places = np.array([one.prior.middle for one in problem.parameters])
    slopes = problem.derivatives(places.tolist(), range(len(places)))
    for k in range(len(places)):
        moved = places.copy()
        moved[k] += 0.01
        change = [directly(one, problem.parameters, moved) for one in problem.observations] - problem.logarithms(
            places.tolist()
        )
        assert slopes[:, k] * 0.01 == pytest.approx(change, abs=1e-9)


def test_what_is_not_free_is_as_the_profiles_have_it(problem):
    profiles = FixedSubset(problem, ()).logarithms(np.zeros(0))
    assert math.exp(profiles[0]) == pytest.approx(ScenarioMetrics(problem.observations[0].scenario).value("throughput"))
    link = next(k for k, one in enumerate(problem.parameters) if one.path == "cluster.inter_node.efficiency")
    slower = FixedSubset(problem, (link,)).logarithms(np.array([problem.parameters[link].prior.middle - 1]))
    changed = {
        (one.quantity, one.scenario.plan.gpus)
        for one, before, after in zip(problem.observations, profiles, slower, strict=True)
        if not math.isclose(before, after, abs_tol=1e-12)
    }
    assert ("all_reduce_time", 16) in changed
    assert {gpus for _, gpus in changed} == {16}  # 4 are one node


def test_what_cannot_run_is_named_by_its_place():
    too_much = override(MACHINE, {"plan.batch_per_gpu": 100_000})
    fast = Measurement("throughput", 1.0, "measured.csv: line 3")
    with pytest.raises(InputError, match=r"^measured\.csv: line 3: plan.batch_per_gpu: 100000 needs"):
        CalibrationProblem([Observation(fast, too_much)], []).check()
    lost = Observation(Measurement("all_reduce_time", 1.0, "measured.csv: line 4"), MACHINE)
    with pytest.raises(InputError, match=r"^measured\.csv: line 4: all_reduce_time: no message size"):
        CalibrationProblem([lost], []).check()
