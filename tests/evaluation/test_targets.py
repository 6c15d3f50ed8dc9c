import csv
import io
import json
import math
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest

from lbsim import Scenario, override
from lbsim import predict as predict_step
from lbsim.cli.app import main
from lbsim.communication.collective_time import time_all_reduce
from lbsim.evaluation.cross_validation.leave_out import leave_out
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.single_gpu.rates import rates
from lbsim.evaluation.targets import testbed
from lbsim.evaluation.targets.data import TargetData
from lbsim.evaluation.targets.evaluate import Outcome, Outcomes, evaluate, reason, rows
from lbsim.evaluation.targets.experiments import EXPERIMENTS, predict
from lbsim.evaluation.targets.held_out import order_of_policies
from lbsim.evaluation.targets.own_traces import residuals
from lbsim.evaluation.targets.single_gpu import intervals
from lbsim.evaluation.targets.target import aim_of, sections, targets
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
    likely = predict_step(Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017", batch_per_gpu=32)).throughput
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
    assert list(dict.fromkeys(target for target, _ in asked)) == [section.title for section in sections()]
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

    def order(*pair):
        return [one.hit for one in order_of_policies(pair)]

    assert order(took(1.0, 1.0), took(1.1, 1.0)) == [True]
    assert order(took(1.0, 1.0), took(1.1, 0.9)) == [False]
    assert order(took(1.0, 1.0), took(1.01, 0.9)) == []  # too near to each other to say


def test_an_interval_is_from_other_sources_alone(cases):
    one, two = (next(rate for rate in rates("calibrate", cases) if rate.case.system == name) for name in ("one", "two"))
    unseen = [Residual(one, one.value * math.exp(0.01 * place)) for place in range(9)]
    unseen += [Residual(two, two.value * math.exp(0.1))] * 9
    # of each source, the lags of the other make the interval: 0.1 is beyond 0.08, and 0 to 0.08 are within 0.1
    assert [one.inside for one in intervals("source", unseen)] == [True] * 9 + [False] * 9
    assert [one.inside for one in intervals("source", unseen[:9])] == [None] * 9


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


@pytest.mark.golden
@pytest.mark.slow
def test_the_testbed_is_what_its_report_says(update_goldens):
    """The report's script keeps each prediction; both are of the same traces, or one of them is stale."""
    if update_goldens:
        subprocess.run([sys.executable, CHECKOUT / "reports" / "testbed" / "fit.py"], check=True, capture_output=True)
    with (CHECKOUT / "reports" / "testbed" / "predicted.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["fitted"] == "0" and row["class"] == "steps"]
    outcomes = testbed.outcomes(TargetData())
    about = [(section, target) for section, target in targets() if target.experiment == "testbed"]
    found = {target.what: evaluate(section, target, outcomes, "") for section, target in about}
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
    outcomes = predict(TargetData(PUBLISHED_CASES))
    about = [(section, target) for section, target in targets() if "as predict gives" in target.what]
    lines = [evaluate(section, target, outcomes, "") for section, target in about]
    found = {line.what.partition(", as predict")[0]: line for line in lines}
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
    assert set(numbers) >= {section.title for section in sections()} - {"our own traces, one machine and framework"}
    for line in lines:
        assert (line["reached"] is False) == bool(line["why"])
        assert line["rows"] or line["missing"]


SECTION, TARGET = next(iter(targets()))  # aims of 5 and 10 %


def evaluated(*relative_errors):
    found = [Outcome(f"row {place}", TARGET.classes[0], error) for place, error in enumerate(relative_errors)]
    return evaluate(SECTION, TARGET, Outcomes(tuple(found)), "")


@pytest.mark.parametrize(
    ("found", "reached"),
    [([0.05, -0.05], True), ([0.06, 0.06], False), ([0.0, 0.0, 0.0, -0.11], False), ([-0.1, 0.0], True)],
)
def test_a_target_is_reached_if_mean_and_worst_are(found, reached):
    line = evaluated(*found)
    assert line.reached is reached
    assert line.verdict == ("reached" if reached else "missed")
    assert bool(reason(line)) is not reached
    assert abs(found[int(line.worst_id.removeprefix("row "))]) == line.worst


@pytest.mark.parametrize(("insides", "reached"), [(9, True), (10, False), (8, False)])
def test_a_share_is_reached_if_it_is_between_its_ends(insides, reached):
    section, target = next((section, target) for section, target in targets() if target.id == "intervals-row-fp32")
    found = [Outcome("", target.classes[0], 0.0, hit=place < insides) for place in range(10)]
    line = evaluate(section, target, Outcomes(tuple(found)), "")
    assert (line.share, line.reached) == (insides / 10, reached)
    assert reason(line) == {8: section.reason, 9: "", 10: section.reason_above}[insides]


def test_what_has_no_number_is_neither_reached_nor_missed():
    line = evaluate(SECTION, TARGET, Outcomes((), "no traces"), "")
    assert (line.missing, line.reached, line.verdict, reason(line)) == ("no traces", None, "not here", "")


def test_errors_leave_outliers_out_and_shares_do_not():
    known = {target.id: (section, target) for section, target in targets()}
    near, far = Outcome("near", "all-reduce", 0.0, hit=True), Outcome("far", "all-reduce", 1.0, hit=False, outlier=True)
    found = Outcomes((near, near, near, far))
    errors = evaluate(*known["all-reduce-size"], found, "")
    assert (errors.rows, errors.outliers, errors.mean, errors.worst) == (3, 1, 0, 0)
    assert evaluate(*known["intervals-all-reduce-size"], found, "").share == 0.75


def test_anchored_predictions_are_targets_of_their_own():
    known = {target.id: (section, target) for section, target in targets()}
    found = Outcomes(
        (
            Outcome("alone", "single GPU, fp32", 0.3),
            Outcome("from ResNet-50", "single GPU, fp32", 0.1, anchor="resnet50"),
            Outcome("from VGG", "single GPU, fp32", 0.2, anchor="vgg16"),
        )
    )
    assert evaluate(*known["single-gpu-source-fp32"], found, "").worst_id == "alone"
    assert evaluate(*known["single-gpu-resnet50"], found, "").worst_id == "from ResNet-50"
    assert evaluate(*known["single-gpu-any-model"], found, "").rows == 2


def test_every_target_names_an_experiment_and_has_an_id_of_its_own():
    known = [target for _, target in targets()]
    assert {target.experiment for target in known} == set(EXPERIMENTS)
    assert len({target.id for target in known}) == len(known)
    lines = rows(dict.fromkeys(EXPERIMENTS, Outcomes(())), "-")
    assert [line.what for line in lines] == [target.what for target in known]


def test_the_aims_of_leave_out_are_those_of_the_targets():
    aim = aim_of("scale", "fusion policies")
    assert aim is not None
    assert (aim.mean, aim.worst) == (0.025, 0.1)
    assert aim_of("model", "fusion policies") is None


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


def errors(files):
    return {one.observation.case.id: one.relative_error for one in residuals(files)}


def test_a_model_is_predicted_from_the_others_on_the_same_machine(tmp_path):
    models = ("alexnet", "resnet50", "vgg16")
    files = [step_trace(tmp_path, model, other_machine) for model in models]
    found = errors(files)
    assert list(found) == [f"{model} x {batch}" for model in models for batch in (1, 4, 8)]
    assert max(map(abs, found.values())) < 0.05  # the law made them; priors hold them back
    files[2] = step_trace(tmp_path, "vgg16", lambda model, batch: other_machine(model, batch, 2.0))
    slower = errors(files)
    for batch in (1, 4, 8):
        # nothing of a model is fitted to when it is predicted
        assert slower[f"vgg16 x {batch}"] == pytest.approx((1 + found[f"vgg16 x {batch}"]) / 2 - 1)
