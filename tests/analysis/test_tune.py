import json

import pytest
from typer.testing import CliRunner

from lbsim import Scenario, override, predict
from lbsim.analysis.tune import plan_candidates, tune
from lbsim.cli.app import app

SMALL = [
    Scenario.of(gpus=gpus, cluster=cluster, software=software, model=model, batch_per_gpu=16, precision="fp32")
    for gpus, cluster, software, model in (
        (8, "mn-1", "chainer-2017", "resnet50"),
        (32, "mn-1", "chainer-2017", "alexnet-owt"),
        (16, "hkbu-10gbe", "horovod-pytorch", "resnet50"),
        (16, "hkbu-ib", "horovod-pytorch", "vgg16"),
        (4, "hkbu-100gbe", "pytorch-nccl", "resnet50"),
        (64, "jizhi-p40", "tensorflow-jizhi", "alexnet-bn"),
        (16, "big-basin", "caffe2-2017", "resnet50"),
        (12, "minsky", "torch-2017", "resnet50"),
        (24, "dgx-1-v100", "pytorch-nccl", "googlenet"),
        (3, "stampede2-knl", "intel-caffe-mlsl", "resnet50"),
    )
]


def throughput(scenario, changes):
    try:
        return predict(override(scenario, changes)).throughput
    except ValueError:
        return 0.0


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: f"{scenario.plan.gpus} on {scenario.cluster.name}")
def test_it_finds_what_predicting_every_plan_finds(scenario):
    best = max(throughput(scenario, changes) for changes in ({}, *plan_candidates(scenario)))
    assert tune(scenario).after.throughput == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: f"{scenario.plan.gpus} on {scenario.cluster.name}")
def test_it_is_never_worse_than_what_was_asked_about(scenario):
    tuning = tune(scenario)
    assert tuning.gain >= 0
    assert tuning.gain_low <= tuning.gain <= tuning.gain_high
    assert predict(override(scenario, tuning.changes)).throughput == tuning.after.throughput


def test_one_gpu_has_nothing_to_tune_but_its_batch():
    alone = override(SMALL[0], {"plan.gpus": 1})
    assert tune(alone).changes == {}
    assert tune(alone, most_batch=100).changes == {"plan.batch_per_gpu": 64}


def test_the_batch_doubles_no_further_than_memory():
    tuning = tune(SMALL[0], most_batch=10**6)
    assert tuning.after.memory.total <= SMALL[0].cluster.accelerator.memory
    assert tuning.gain > 0


def test_what_was_tuned_is_not_tuned_again():
    first = tune(SMALL[2])
    assert tune(first.after.scenario).gain == pytest.approx(0, abs=1e-9)


def test_the_command_prints_lines_to_paste_and_json_to_rerun(tmp_path):
    asked = ["tune", "--gpus", "16", "--cluster", "hkbu-10gbe", "--software", "horovod-pytorch", "--precision", "fp32"]
    printed = CliRunner().invoke(app, asked).stdout
    assert "hvd.Compression.fp16" in printed
    answer = CliRunner().invoke(app, [*asked, "--format", "json"]).stdout
    (tmp_path / "tuned.json").write_text(answer)
    again = CliRunner().invoke(app, ["predict", str(tmp_path / "tuned.json"), "--format", "json"]).stdout
    assert json.loads(again)["throughput"] == pytest.approx(json.loads(answer)["throughput"])
