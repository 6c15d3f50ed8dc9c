import json

import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

from lbsim import Anchor, Scenario, override, predict
from lbsim.analysis.explain import explain
from lbsim.cli.app import app
from tests.scenarios import scenarios

AKIBA = Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32)


@settings(max_examples=15)
@given(scenarios())
def test_the_causes_add_up_to_the_step_and_none_is_negative(scenario):
    explanation = explain(scenario)
    step = explanation.prediction.step_time
    assert sum(cause.seconds for cause in explanation.causes) == pytest.approx(step, rel=1e-9)
    assert min(cause.seconds for cause in explanation.causes) >= -1e-9 * step


def test_each_lever_is_a_rerun():
    explanation = explain(AKIBA)
    for lever in explanation.levers:
        assert predict(override(AKIBA, lever.changes)).throughput == lever.throughput
        assert lever.gain == pytest.approx(lever.throughput / predict(AKIBA).throughput - 1)
    assert [lever.gain for lever in explanation.levers] == sorted(
        (lever.gain for lever in explanation.levers), reverse=True
    )


def test_a_network_without_latency_loses_none_to_it():
    quick = override(
        AKIBA,
        {
            "cluster.inter_node.latency": 0.0,
            "cluster.intra_node.latency": 0.0,
            "software.library.per_step": 0.0,
            "software.library.per_collective": 0.0,
        },
    )
    causes = {cause.name: cause.seconds for cause in explain(quick).causes}
    assert causes["latency"] == pytest.approx(0, abs=1e-12)
    assert causes["bandwidth"] > 0.01  # 51 MB twice over a few GB/s


def test_one_gpu_loses_nothing_to_others():
    alone = {cause.name: cause.seconds for cause in explain(override(AKIBA, {"plan.gpus": 1})).causes}
    assert [alone[name] for name in ("latency", "bandwidth", "stragglers", "the limits of overlap")] == [0, 0, 0, 0]


def test_an_anchor_of_several_gpus_keeps_its_compute_when_links_change():
    anchored = AKIBA.model_copy(update={"anchor": Anchor(throughput=1000, gpus=8)})
    explanation = explain(anchored)
    parts = predict(anchored).breakdown
    assert explanation.causes[0].seconds == pytest.approx(parts.forward + parts.backward)


def test_a_slow_gpu_is_a_straggler_even_when_several_gpus_anchor_it():
    slow = override(AKIBA, {"cluster.slow": "[{gpu = 17, compute = 1.5}]"})
    anchored = slow.model_copy(update={"anchor": Anchor(throughput=1000, gpus=8)})
    causes = {cause.name: cause.seconds for cause in explain(anchored).causes}
    assert causes["stragglers"] == pytest.approx(0.5 * causes["compute"], rel=0.01)


def test_the_command_says_it_in_a_sentence_and_as_json():
    asked = ["explain", "--gpus", "1024", "--cluster", "mn-1", "--software", "chainer-2017", "--batch-per-gpu", "32"]
    printed = CliRunner().invoke(app, asked).stdout
    assert "the step loses most" in printed
    assert max(map(len, printed.splitlines())) <= 80
    answer = json.loads(CliRunner().invoke(app, [*asked, "--format", "json"]).stdout)
    assert sum(cause["seconds"] for cause in answer["causes"]) == pytest.approx(answer["step_time"])
