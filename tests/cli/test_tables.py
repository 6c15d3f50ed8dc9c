"""Every table with hostile names: they are text, escaped, in columns that do not break."""

import ast
import pkgutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from rich.cells import cell_len

import lbsim.cli.tables
from lbsim import Scenario, predict
from lbsim.accuracy.benchmark import benchmarks
from lbsim.accuracy.search import time_to_accuracy
from lbsim.accuracy.training_option import TimeToAccuracyRequest, recipes_for
from lbsim.analysis.explain import explain
from lbsim.analysis.tune import tune
from lbsim.calibration.calibration import Calibration
from lbsim.cli import benchmark_work
from lbsim.cli.app import main
from lbsim.cli.compare import compare
from lbsim.cli.profile_listing import Entry
from lbsim.cli.tables.advice import explanation_table, tuning_table
from lbsim.cli.tables.calibration import calibration_table
from lbsim.cli.tables.comparison import comparison_table
from lbsim.cli.tables.entries import entries_table
from lbsim.cli.tables.leave_out import leave_out_table
from lbsim.cli.tables.plan import choices_table
from lbsim.cli.tables.prediction import prediction_table, ranks_table
from lbsim.cli.tables.targets import targets_table
from lbsim.cli.tables.timing import nccl_tests_table, timing_table
from lbsim.cli.tables.validation import validation_table
from lbsim.cli.terminal import print_table
from lbsim.communication.collective_time import time_all_reduce
from lbsim.evaluation.cross_validation.summary import Summary
from lbsim.evaluation.residual import Residual
from lbsim.evaluation.targets.evaluate import TargetRow
from lbsim.evaluation.targets.target import sections
from lbsim.evaluation.validate import Validation
from lbsim.measurements.measurement import Measurement
from lbsim.measurements.observation import CaseLabels, Observation
from lbsim.printed_text import escaped
from lbsim.simulation.per_rank import simulate_ranks
from tests.hostile_names import STYLES, names, takes_effect
from tests.pseudo_terminal import run_on_terminal

SCENARIO = Scenario.of(gpus=16, cluster="hkbu-10gbe", software="horovod-pytorch", precision="fp32", batch_per_gpu=16)
PREDICTION = predict(SCENARIO)
RANKS = simulate_ranks(SCENARIO, 3)
EXPLANATION = explain(SCENARIO)
TUNING = tune(SCENARIO)
TIMING = time_all_reduce(SCENARIO, 1e6)
CALIBRATION = Calibration.load("polaris")
BENCHMARK = benchmarks()["mlperf-rnn-t"]
CHOICES = time_to_accuracy(
    Scenario.of(gpus=1, cluster="dgx-h100"), [64], TimeToAccuracyRequest(75.0), recipes_for("resnet50")
)


def named(name, scenario=SCENARIO):
    """Return *scenario* with *name* for each of its parts that a user can name."""
    cluster, software = scenario.cluster, scenario.software
    parts = {
        field: getattr(cluster, field).model_copy(update={"name": name})
        for field in ("accelerator", "intra_node", "inter_node")
    }
    of_software = {
        field: getattr(software, field).model_copy(update={"name": name}) for field in ("library", "kernels")
    }
    return scenario.model_copy(
        update={
            "model": name.replace("/", "|"),  # a table shows the last part of its path
            "cluster": cluster.model_copy(update={"name": name} | parts),
            "software": software.model_copy(update={"name": name} | of_software),
        }
    )


def prediction(name):
    """Return a prediction of a scenario full of *name*."""
    return replace(PREDICTION, scenario=named(name), calibration=name)


def plan(name):
    recipe = CHOICES.chosen.recipe.model_copy(update={"name": name})
    predicted = replace(CHOICES.chosen.prediction, scenario=named(name, CHOICES.chosen.prediction.scenario))
    chosen = replace(CHOICES.chosen, recipe=recipe, prediction=predicted)
    return choices_table(replace(CHOICES, options=(chosen,), chosen=chosen, refused={8: name}))


def calibration(name):
    fitted = tuple(one.model_copy(update={"of": name}) for one in CALIBRATION.fitted)
    update = {"fitted": fitted, "clusters": (name,), "undetermined": (name,)}
    return calibration_table(CALIBRATION.model_copy(update=update))


def validation(name):
    labels = CaseLabels(id=name, quantity="throughput", system=name, source=name, class_=name)
    observation = Observation(Measurement(quantity="throughput", value=1.0, where=name), SCENARIO, case=labels)
    return validation_table(Validation((Residual(observation, 2.0),)))


def leave_out(name):
    return leave_out_table([Summary(name, 3, 0, 0.1, 0.2, name, 0.9, 0.1, 0.9, 0.1, None)])


def targets(name):
    title = sections()[0].title  # titles and labels are lbsim's own
    errors = TargetRow(title, "label", rows=1, mean=0.1, worst=0.2, worst_aim=0.1, worst_id=name)
    shares = TargetRow(title, "label", rows=1, share=0.9, share_aim=(0.8, 1.0))
    return targets_table([errors, shares, TargetRow(title, "label", missing=name)])


def explanation(name):
    causes = tuple(replace(cause, name=name) for cause in EXPLANATION.causes)
    levers = tuple(replace(lever, name=name) for lever in EXPLANATION.levers)
    return explanation_table(replace(EXPLANATION, prediction=prediction(name), causes=causes, levers=levers))


def tuning(name):
    return tuning_table(replace(TUNING, changes={"plan.all_reduce": name, f"plan.{name}": 1}))


def timing(name):
    phases = tuple(replace(phase, name=name) for phase in TIMING.collective.phases)
    return timing_table(replace(TIMING, collective=replace(TIMING.collective, algorithm=name, phases=phases)))


def comparison(name):
    return comparison_table(compare(PREDICTION, prediction(name)), ("a.json", name.replace("/", "|")))


def work(name):
    return benchmark_work.work_table(BENCHMARK.model_copy(update={"model": name, "metric": name}), None)


TABLES = {
    prediction_table: lambda name: prediction_table(prediction(name)),
    ranks_table: lambda _: ranks_table(RANKS),  # no names
    explanation_table: explanation,
    tuning_table: tuning,
    calibration_table: calibration,
    comparison_table: comparison,
    entries_table: lambda name: entries_table([Entry(name, name, name), Entry("kind", name, name)]),
    leave_out_table: leave_out,
    choices_table: plan,
    targets_table: targets,
    timing_table: timing,
    nccl_tests_table: lambda _: nccl_tests_table([TIMING]),  # no names
    validation_table: validation,
    benchmark_work.work_table: work,
}
WITHOUT_NAMES = {ranks_table, nccl_tests_table}
TO_PASTE = ("torchrun ", "export ", "from torch", "DistributedDataParallel", "hvd.", "ddp.")
tables = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)


def test_every_table_is_tested_here():
    modules = [import_module(f"lbsim.cli.tables.{one.name}") for one in pkgutil.iter_modules(lbsim.cli.tables.__path__)]
    public = {getattr(module, name) for module in [*modules, benchmark_work] for name in module.__all__}
    made = {one for one in public if getattr(one, "__name__", "").endswith("_table")}
    assert made == set(TABLES)


def test_text_and_tables_of_rich_come_from_one_module():
    folder = Path(lbsim.cli.tables.__file__).parents[1]
    for file in sorted(folder.rglob("*.py")):
        imported = {one.module for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, ast.ImportFrom)}
        assert not imported & {"rich.text", "rich.table"} or file.name == "_layout.py", file


def printed(table, name, capsys):
    print_table(TABLES[table](name))
    return capsys.readouterr().out


@tables
def test_a_name_in_a_table_is_text(table, capsys):
    @settings(max_examples=25)
    @given(names)
    def check(name):
        text = printed(table, name, capsys)
        assert not takes_effect(text)
        wide = [line for line in text.splitlines() if cell_len(line) > 80 and not line.startswith(TO_PASTE)]
        assert not wide

    check()


@tables
@pytest.mark.parametrize("name", ["[/red]x", "[x]", "[/i]", ":smile:", "$x^{$_", "\x1b[2J", "{0}%s", "\\[b]"])
def test_a_name_is_in_its_table_as_it_is_spelled(table, name, capsys):
    assert escaped(name) in printed(table, name, capsys) or table in WITHOUT_NAMES


def test_a_terminal_gets_no_escape_of_a_name(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "\\u001b]0;PWNED\\u0007\\u001b[2Jx"\nsource = "x"\nextends = "dgx-h100"\n'
    )
    code, received = run_on_terminal("predict", "--gpus", "8", "--cluster", "mine.toml", folder=tmp_path)
    assert code == 0
    assert "\x1b[1m" in received  # headings are bold
    assert not takes_effect(STYLES.sub("", received.replace("\r\n", "\n")))
    assert r"\x1b]0;PWNED\x07\x1b[2Jx" in received


def test_an_error_about_a_name_is_escaped(tmp_path, capsys):
    file = tmp_path / "a\x1b[2Jb.toml"
    assert main(["predict", "--gpus", "8", "--cluster", str(file)]) == 2
    error = capsys.readouterr().err
    assert not takes_effect(error)
    assert r"a\x1b[2Jb.toml" in error
