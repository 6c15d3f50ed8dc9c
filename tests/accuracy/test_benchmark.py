import json

import pytest
from typer.testing import CliRunner

from lbsim.accuracy.benchmark import benchmark_recipe, benchmarks, find, work_by_batch
from lbsim.accuracy.convergence_data import work_by_recipe
from lbsim.accuracy.training_option import has_recipe
from lbsim.cli.app import app, main
from lbsim.profiles.catalog import SHIPPED
from lbsim.scenario.scenario import find_workload

BENCHMARKS = benchmarks()
BERT = BENCHMARKS["mlperf-bert-large"]
SEQUENCES = 6_400_000
"""An epoch of lbsim's BERT-Large."""
WITHOUT_WORKLOAD = [benchmark for benchmark in BENCHMARKS.values() if benchmark.workload is None]
MODEL = """
format = "lbsim workload"
version = 1
name = "mine"
source = "a test"
input = "256 B"
samples = 1170301
validation_samples = 24781

[[layers]]
name = "fc"
kind = "linear"
forward_flops = 1e9
backward_flops = 2e9
forward_elements = 1e6
backward_elements = 1e6
tensors = [{name = "fc.weight", elements = 100000}]
"""


def planned(*arguments):
    answer = CliRunner().invoke(app, ["plan", *map(str, arguments), "--format", "json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_each_series_of_work_to_a_target_has_a_benchmark():
    assert {benchmark.series for benchmark in BENCHMARKS.values()} == set(work_by_recipe())
    assert not BENCHMARKS.keys() & SHIPPED.files("recipes").keys()


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_its_model_is_a_workload_or_is_found_by_its_name(benchmark):
    if benchmark.workload is not None:
        assert find_workload(benchmark.workload).samples > max(work_by_recipe()[benchmark.series])
    if not has_recipe(benchmark.model):
        assert find(benchmark.model, None) == benchmark
    assert find("vgg16", benchmark.name) == benchmark


def test_the_beginning_of_a_models_name_is_enough_where_one_has_it():
    assert find("retinanet", None) == BENCHMARKS["mlperf-retinanet-resnext50"]
    assert find("bert-large-512", None) == find("bert", None) == BERT
    assert find("llama", None) is None  # three have it


@pytest.mark.parametrize("batch", [256, 1536, 4096, 8192])
def test_berts_samples_are_those_of_the_digests_hyperbola(batch):
    # CONVERGENCE: E0 = 2.40 M samples, critical batch 13.2k (x/ 1.16), fitted by least squares to the same means
    (row,) = work_by_batch(BERT, batch)
    assert row.work.value == pytest.approx(2.40e6 * (1 + batch / 13.2e3), rel=0.05)
    assert row.steps == pytest.approx(row.work.value / batch)


def test_berts_plan_takes_the_published_samples():
    answer = planned("--model", "bert-large", "--target", "72%", "--gpus", "8,256")
    assert answer["benchmark"] == {"name": "mlperf-bert-large", "metric": "masked-LM accuracy", "target": 0.72}
    assert answer["command"] is None  # the harness has neither the model nor its data
    published = work_by_recipe()["mlperf-bert-large"]
    for choice in answer["choices"]:
        needed = choice["epochs_to_target"]
        assert needed["low"] < choice["epochs"] < needed["high"]
        if choice["batch"] in published:
            assert choice["epochs"] == pytest.approx(published[choice["batch"]] / SEQUENCES, rel=0.15)  # 6 % rms
    assert planned("--model", "bert-large", "--target", "0.72", "--gpus", "8")["chosen_gpus"] == 8


def test_a_batch_beyond_the_evidence_is_answered_wider_and_marked():
    inside, beyond = (
        planned("--model", "bert-large", "--target", "72%", "--gpus", "1024", "--batch", batch)["choices"][0]
        for batch in (4096, 65536)
    )
    assert (inside["beyond_evidence"], beyond["beyond_evidence"]) == (False, True)
    widths = [row["epochs_to_target"]["high"] / row["epochs_to_target"]["low"] for row in (inside, beyond)]
    assert widths[1] > 1.5 * widths[0]


def test_a_recipe_answers_beyond_its_range_where_the_batch_is_given():
    asked = ["--recipe", "mlperf-resnet50-lars", "--target", "75%", "--gpus", "1024", "--batch"]
    inside, beyond = (planned(*asked, batch)["choices"][0] for batch in (32768, 65536))
    assert beyond["beyond_evidence"]
    assert beyond["top1"]["high"] - beyond["top1"]["low"] >= inside["top1"]["high"] - inside["top1"]["low"]
    table = CliRunner().invoke(app, ["plan", *asked, "65536"]).stdout
    assert "65,536?" in table
    assert "outside the recipe's evidence" in table


def test_a_confidence_takes_more_epochs():
    half, most = (
        planned("--model", "bert-large", "--target", "72%", "--gpus", "256", "--batch", 4096, *more)["choices"][0]
        for more in ([], ["--confidence", "90%"])
    )
    assert most["epochs"] > half["epochs"]
    assert most["chance_to_reach"] == pytest.approx(0.9, abs=0.01)  # of 2,000 draws


@pytest.mark.parametrize("benchmark", WITHOUT_WORKLOAD, ids=lambda benchmark: benchmark.name)
def test_a_model_without_a_workload_gets_its_work_by_batch(benchmark):
    answer = planned("--model", benchmark.model, "--target", benchmark.target)
    published = work_by_recipe()[benchmark.series]
    rows = {row["batch"]: row for row in answer["batches"]}
    assert published.keys() < rows.keys()
    inside = [rows[batch]["work"]["low"] <= value <= rows[batch]["work"]["high"] for batch, value in published.items()]
    assert sum(inside) >= 0.75 * len(inside)  # CosmoFlow's smallest of four is of another recipe
    widths = [row["work"]["high"] / row["work"]["low"] for row in answer["batches"]]
    assert widths[-1] > widths[-2] > widths[-3]


def test_the_table_of_work_fits_a_terminal_and_tells_how_to_get_the_time():
    table = CliRunner().invoke(app, ["plan", "--model", "retinanet-resnext50", "--target", "34%"]).stdout
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "4,096?" in table
    assert "lbsim workload trace" in table


def test_a_workload_of_ones_own_is_planned_with_a_benchmarks_epochs(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(MODEL)
    asked = ["--model", file, "--recipe", "mlperf-retinanet-resnext50", "--target", "0.34", "--gpus", "8"]
    choice = planned(*asked, "--batch", 1024)["choices"][0]
    assert choice["epochs"] == pytest.approx(6.0, rel=0.05)  # published: 6.0
    recipe, law = benchmark_recipe(BENCHMARKS["mlperf-retinanet-resnext50"], "mine", 1170301)
    assert recipe.covers(1024)
    assert law.epochs_to(1024, 35.0) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "bert-large", "--target", "75%"], "masked-LM accuracy only; write --target 72%"),
        (["--model", "rnn-t", "--target", "much"], "word error rate only; write --target 5.8%"),
        (["--model", "llama-3-1-8b", "--target", "3"], "write --target 3.3"),
        (["--model", "llama", "--target", "3.3"], "llama-3-1-8b"),
        (["--model", "bert-large", "--recipe", "mlperf-bert", "--target", "72%"], "did you mean 'mlperf-bert-large'"),
        (["--model", "bert-large", "--target", "72%", "--batch", "0"], "--batch"),
        (["--model", "r-gat", "--target", "72%", "--batch", "0"], "--batch"),
        (["--recipe", "mlperf-gpt-3-175b", "--model", "bert-large", "--target", "2.69"], "its work is in tokens"),
    ],
)
def test_what_the_evidence_does_not_answer_gets_one_line(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
