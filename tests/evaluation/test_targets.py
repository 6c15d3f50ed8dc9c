import csv
import io
import json
import math
from collections import Counter
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest

from lbsim import Scenario, override, predict
from lbsim.cli.app import main
from lbsim.communication.collective_time import time_all_reduce
from lbsim.evaluation.cross_validation.leave_out import leave_out
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.rates import rates
from lbsim.evaluation.targets import TARGETS, Line, Place, interval_coverage, reason, testbed
from lbsim.evaluation.targets.multi_gpu import ordered
from lbsim.evaluation.targets.own_traces import errors
from lbsim.evaluation.targets.result import OWN_TRACES
from lbsim.evaluation.targets.single_gpu import coverage_of
from lbsim.measurements.case import read_case_file
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.observation import Observation
from lbsim.measurements.trace import Evidence, Trace, TraceEntry, write_trace
from lbsim.profiles.catalog import PUBLISHED_CASES
from lbsim.simulation.metrics import ScenarioMetrics

CLUSTER = 'source = "a paper"\nsystem = "{system}"\n[scenario]\ncluster = "{cluster}"\nsoftware = "{software}"\n'
PLAN = "[scenario.plan]\ngpus = {gpus}\nbatch_per_gpu = 32\n"
CHECKOUT = Path(__file__).parents[2]
POLICIES = ("none", "one-buffer", "mg-wfbp")
EVIDENCE = Evidence(
    **{"command": "none", "date": "2026-11-21", "commit": "none", "host": "none", "cpu": "AMD EPYC", "cpus": 1},
    **{"load": 0.0, "threads": 1, "python": "3", "torch": "2", "backend": "none"},
)


def case(folder, system, cluster, software, gpus, entries):  # noqa: PLR0917
    head = CLUSTER.format(system=system, cluster=cluster, software=software) + PLAN.format(gpus=gpus)
    (folder / f"{system}.toml").write_text(head + "".join(f"[[observed]]\n{entry}\n" for entry in entries))


def entry(name, quantity, value, class_, role="validate", **changes):
    changes = {path.replace("__", "."): value for path, value in changes.items()}
    told = ", ".join(f'"{path}" = {json.dumps(value)}' for path, value in changes.items())
    return (
        f'id = "{name}"\nquantity = "{quantity}"\nvalue = {value}\nrole = "{role}"\nclass = "{class_}"\n'
        f"set = {{ {told} }}"
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Write few cases of each kind, some of them made by lbsim itself with other links, and return their folder."""
    folder = tmp_path_factory.mktemp("traces") / "published"
    folder.mkdir()
    likely = predict(Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017", batch_per_gpu=32)).throughput
    seeds = [
        entry("S-1", "scaling_efficiency", 0.8, "seed efficiency"),
        entry("S-2", "throughput", f'"{likely} samples/s"', "seed time, not anchored"),
        entry("S-3", "throughput", '"15 samples/s"', "seed time, not anchored"),
    ]
    case(folder, "seed", "mn-1", "chainer-2017", 16, seeds)
    here = Scenario.of(gpus=4, cluster="hkbu-10gbe", software="horovod-pytorch", batch_per_gpu=32)
    slow = override(here, {"cluster.inter_node.efficiency": here.cluster.inter_node.efficiency * 0.7})
    policies = []
    for gpus in (4, 8, 16):
        for policy in POLICIES:
            seconds = ScenarioMetrics(override(slow, {"plan.gpus": gpus, "plan.fusion": policy})).value("step_time")
            changes = {"plan__gpus": gpus, "plan__fusion": policy}
            name = f"H-{gpus}-{policy}"
            policies.append(entry(name, "step_time", f'"{seconds} s"', "fusion policies", "calibrate", **changes))
    for gpus in (8, 16, 32):
        for size in (2**22, 2**26):
            seconds = time_all_reduce(override(slow, {"plan.gpus": gpus}), size).time
            told = entry(
                f"A-{gpus}-{size}", "all_reduce_time", f'"{seconds} s"', "all-reduce", "calibrate", plan__gpus=gpus
            )
            policies.append(f'{told}\nmessage = "{size} B"')
    case(folder, "hkb", "hkbu-10gbe", "horovod-pytorch", 4, policies)
    for system, software, factor in (("one", "paddle-2", 1.0), ("two", "ngc-pytorch", 1.3)):
        speeds = [
            entry(
                f"{system} {model}",
                "throughput",
                f'"{rate * factor} samples/s"',
                "single GPU, fp32",
                "calibrate",
                model=model,
                plan__precision="fp32",
            )
            for model, rate in (("resnet50", 330.0), ("vgg16", 220.0))
        ]
        case(folder, system, "dgx-1-v100", software, 1, speeds)
    return folder


@pytest.fixture(scope="module")
def asked(cases):
    """Return what the command answers of these cases, by what each line is about."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["validate", "--targets", "--cases", str(cases), "--format", "json"]) == 0
    return {(one["target"], one["what"]): one for one in json.loads(printed.getvalue())["targets"]}


def of(asked, what):
    (found,) = (line for (_, name), line in asked.items() if name == what)
    return found


def test_each_target_has_a_line_and_what_there_is_no_case_of_says_so(asked):
    assert [target for target, _ in dict.fromkeys((target, "") for target, _ in asked)] == list(TARGETS)
    for line in asked.values():
        has = line["share"] if line["share_aim"] else line["mean"]
        assert (has is None) == bool(line["missing"])
        assert line["reached"] is None or not line["missing"]
    assert "no case of the class 'scaling, fp32 in a node'" in of(asked, "fp32 in a node")["missing"]
    assert "source checkout" in of(asked, "each model left out")["missing"]
    assert "no traces in" in of(asked, "all that was not fitted")["missing"]


def test_seeds_are_what_validate_says_of_them(asked, cases, capsys):
    main(["validate", "--cases", str(cases), "--only", "S-", "--format", "json"])
    results = {one["id"]: one for one in json.loads(capsys.readouterr().out)["cases"]}
    line = of(asked, "efficiencies")
    assert (line["rows"], line["worst_id"]) == (1, "S-1")
    assert line["mean"] == pytest.approx(abs(results["S-1"]["predicted"] / 0.8 - 1))
    inside = [results[name]["low"] <= results[name]["observed"] <= results[name]["high"] for name in ("S-2", "S-3")]
    assert of(asked, "inside their interval")["share"] == mean(inside) == 0.5  # 15 samples/s is nobody's rate


def test_several_gpus_are_what_leave_out_says_of_them(asked, cases):
    policies = {
        one.observation.case.id: abs(one.relative_error)
        for one in leave_out("scale", cases).residuals
        if one.observation.case.class_ == "fusion policies"
    }
    line = of(asked, "each fusion policy")
    assert set(policies) == {f"H-16-{policy}" for policy in POLICIES}
    assert (line["rows"], line["mean_aim"], line["worst_aim"]) == (3, 0.025, 0.1)
    assert line["mean"] == pytest.approx(mean(policies.values()))
    assert policies[line["worst_id"]] == max(policies.values())
    assert line["worst"] == pytest.approx(max(policies.values()))


def test_the_order_of_policies_is_counted_pair_by_pair(asked, cases):
    observed = {one.id: one.si for one in read_case_file(cases / "hkb.toml").observed if one.id.startswith("H-16")}
    predicted = {one.observation.case.id: one.predicted for one in leave_out("scale", cases).residuals}
    pairs = [
        pair for pair in combinations(observed, 2) if abs(math.log(observed[pair[0]] / observed[pair[1]])) > 0.0199
    ]
    right = [(observed[a] > observed[b]) == (predicted[a] > predicted[b]) for a, b in pairs]
    line = of(asked, "pairs of policies in the right order")
    assert (line["rows"], line["share"]) == (len(right), mean(right))


def test_an_order_is_wrong_if_the_slower_is_predicted_to_be_the_faster():
    scenario = Scenario.of(gpus=16, cluster="hkbu-10gbe", software="horovod-pytorch", batch_per_gpu=32)

    def took(seconds, off):
        return Residual(Observation(Measurement("step_time", seconds), scenario), seconds * off)

    assert list(ordered([took(1.0, 1.0), took(1.1, 1.0)])) == [True]
    assert list(ordered([took(1.0, 1.0), took(1.1, 0.9)])) == [False]
    assert list(ordered([took(1.0, 1.0), took(1.01, 0.9)])) == []  # too near to each other to say


def test_an_interval_is_from_other_sources_alone(cases):
    one, two = (next(rate for rate in rates("calibrate", cases) if rate.case.system == name) for name in ("one", "two"))
    unseen = [Residual(one, one.value * math.exp(0.01 * place)) for place in range(9)]
    unseen += [Residual(two, two.value * math.exp(0.1))] * 9
    # of each source, the lags of the other make the interval: 0.1 is beyond 0.08, and 0 to 0.08 are within 0.1
    assert coverage_of("source", unseen).inside == (True,) * 9 + (False,) * 9
    assert coverage_of("source", unseen[:9]).share is None


def test_the_json_the_table_and_the_csv_say_the_same(cases, asked, capsys):
    assert main(["validate", "--targets", "--cases", str(cases), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["target"], row["what"]) for row in rows] == list(asked)
    assert [float(row["mean"]) for row in rows if row["mean"]] == [
        one["mean"] for one in asked.values() if one["mean"] is not None
    ]
    assert main(["validate", "--targets", "--cases", str(cases)]) == 0
    printed, progress = capsys.readouterr()
    assert max(map(len, printed.splitlines())) <= 80
    assert progress == ""  # no bar where nobody sees one
    for (target, what), line in asked.items():
        assert target in printed
        assert f"  {what[:20]}" in printed
        if line["mean"] is not None:
            assert f"{line['mean']:.1%}" in printed


@pytest.mark.slow
def test_the_testbed_is_what_its_report_says():
    """The report's script keeps each prediction; both are of the same traces, or one of them is stale."""
    with (CHECKOUT / "reports" / "testbed" / "predicted.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["fitted"] == "0" and row["class"] == "steps"]
    found = {line.what: line for line in testbed.lines(Place())}
    slow = [row for row in rows if row["hosts"] == "16" and float(row["bytes_per_second"]) < 10e6]
    for what, own in (
        ("steps, 2 and 4 hosts", [row for row in rows if row["hosts"] in {"2", "4"}]),
        ("steps, 8 hosts", [row for row in rows if row["hosts"] == "8"]),
        ("steps, 16 hosts, 40 Mb/s", slow),
        ("steps, 16 hosts, more", [row for row in rows if row["hosts"] == "16" and row not in slow]),
    ):
        errors = [abs(float(row["as lbsim has it"]) / float(row["measured"]) - 1) for row in own]
        assert found[what].rows == len(own)
        assert found[what].mean == pytest.approx(mean(errors), abs=1e-4)
        assert found[what].worst == pytest.approx(max(errors), abs=1e-4)


def test_what_predict_says_of_scaling_is_counted_by_class(capsys):
    found = {line.what.partition(", as predict")[0]: line for line in interval_coverage.lines(Place(PUBLISHED_CASES))}
    main(["validate", "--only", "scaling, fp32 across nodes", "--format", "json"])
    cases = json.loads(capsys.readouterr().out)["cases"]
    inside = [one["low"] <= one["observed"] <= one["high"] for one in cases]
    assert found["scaling, fp32 across nodes"].rows == len(cases) > 10
    assert found["scaling, fp32 across nodes"].share == mean(inside)
    assert found.keys() == {
        f"scaling, {what}" for what in ("fp32 in a node", "AMP in a node", "fp32 across nodes", "AMP across nodes")
    }


@pytest.mark.slow
def test_each_target_has_a_number_for_what_ships(capsys):
    assert main(["validate", "--targets", "--format", "json"]) == 0
    lines = json.loads(capsys.readouterr().out)["targets"]
    numbers = Counter(line["target"] for line in lines if line["mean"] is not None or line["share"] is not None)
    assert set(numbers) >= set(TARGETS) - {OWN_TRACES}
    for line in lines:
        assert (line["reached"] is False) == bool(line["why"])
        assert line["rows"] or line["missing"]


LINE = Line(TARGETS[0], "a line", mean_aim=0.05, worst_aim=0.1)


@pytest.mark.parametrize(
    ("found", "reached"),
    [([0.05, -0.05], True), ([0.06, 0.06], False), ([0.0, 0.0, 0.0, -0.11], False), ([-0.1, 0.0], True)],
)
def test_a_target_is_reached_if_mean_and_worst_are(found, reached):
    line = LINE.of_errors((f"row {place}", error) for place, error in enumerate(found))
    assert line.reached is reached
    assert line.verdict == ("reached" if reached else "missed")
    assert bool(reason(line)) is not reached
    assert abs(found[int(line.worst_id.removeprefix("row "))]) == line.worst


@pytest.mark.parametrize(("insides", "reached"), [(9, True), (10, False), (8, False)])
def test_a_share_is_reached_if_it_is_between_its_ends(insides, reached):
    line = Line(TARGETS[-1], "a class", share_aim=(0.85, 0.95))
    assert line.of_shares([True] * insides + [False] * (10 - insides)).reached is reached


def test_what_has_no_number_is_neither_reached_nor_missed():
    assert LINE.not_here("no traces").reached is None
    assert LINE.not_here("no traces").verdict == "not here"


@pytest.mark.parametrize(
    "options",
    [
        ["--targets", "--leave-out", "system"],
        ["--targets", "--only", "JIA"],
        ["--targets", "--figure", "a.png"],
        ["--leave-out", "system", "--only", "JIA"],
        ["--leave-out", "system", "--figure", "a.png"],
        ["--figure", "a.jpg"],
        ["--figure", "png"],
    ],
)
def test_what_says_nothing_together_is_refused_in_one_line(options, capsys):
    assert main(["validate", *options]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert options[0] in error


def test_a_broken_case_is_no_missing_one(cases, tmp_path, capsys):
    text = (cases / "hkb.toml").read_text().replace('quantity = "step_time"', "quantity = 1")
    (tmp_path / "hkb.toml").write_text(text)
    assert main(["validate", "--targets", "--cases", str(tmp_path)]) == 2
    assert "hkb.toml" in capsys.readouterr().err


def step_trace(folder, model, made):
    """Write what `bench step` would of a machine that takes the seconds *made* says, and return the file."""
    observations = [
        TraceEntry(quantity=quantity, settings={"precision": "fp32", "batch_per_gpu": batch}, samples=(seconds,))
        for batch in (1, 4, 8)
        for quantity, seconds in made(model, batch).items()
    ]
    shared = {"model": model, "input": "3x224x224", "optimizer": "torch-sgd"}
    file = folder / f"step-{model}-epyc.json"
    write_trace(
        Trace(measured="step", evidence=EVIDENCE, gpus=1, settings=shared, observations=tuple(observations)), file
    )
    return file


def other_machine(model, batch, factor=1.0):
    scenario = Scenario.of(gpus=1, cluster="epyc-loopback", software="pytorch-cpu", model=model, batch_per_gpu=batch)
    values = {"cluster.accelerator.memory_bandwidth": 3e10, "software.speed.vector": 0.2}
    values |= {"cluster.accelerator.peak.fp32": 4e11}
    steps = ScenarioMetrics(override(scenario, values))
    parts = {"step_time": "step_time", "forward": "breakdown.forward", "backward": "breakdown.backward"}
    return {name: factor * steps.value(quantity) for name, quantity in parts.items()}


def test_a_model_is_predicted_from_the_others_on_the_same_machine(tmp_path):
    models = ("alexnet", "resnet50", "vgg16")
    files = [step_trace(tmp_path, model, other_machine) for model in models]
    found = dict(errors(files))
    assert list(found) == [f"{model} x {batch}" for model in models for batch in (1, 4, 8)]
    assert max(map(abs, found.values())) < 0.05  # the law made them; priors hold them back
    files[2] = step_trace(tmp_path, "vgg16", lambda model, batch: other_machine(model, batch, 2.0))
    slower = dict(errors(files))
    for batch in (1, 4, 8):
        # nothing of a model is fitted to when it is predicted
        assert slower[f"vgg16 x {batch}"] == pytest.approx((1 + found[f"vgg16 x {batch}"]) / 2 - 1)
