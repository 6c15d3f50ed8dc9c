import json

import pytest

from lbsim import Scenario, predict
from lbsim.cli.app import main
from lbsim.cli.compare import compare


def test_a_scenario_does_not_differ_from_itself():
    alone = predict(Scenario.of(gpus=8))
    compared = compare(alone, alone)
    assert (compared.inputs, compared.outputs) == ((), ())


def test_what_was_changed_is_all_that_differs_in_what_was_asked():
    first, second = (predict(Scenario.of(gpus=8, batch_per_gpu=batch)) for batch in (32, 64))
    compared = compare(first, second)
    assert [(one.path, one.first, one.second, one.ratio) for one in compared.inputs] == [
        ("plan.batch_per_gpu", 32, 64, 2)
    ]


def test_each_answer_that_differs_is_told_with_its_ratio():
    first, second = (predict(Scenario.of(gpus=gpus)) for gpus in (8, 64))
    outputs = {one.path: one for one in compare(first, second).outputs}
    assert outputs["throughput"].ratio == pytest.approx(second.throughput / first.throughput)
    assert "breakdown.forward" not in outputs  # a GPU computes as ever
    assert not [path for path in outputs if path.startswith("scenario")]


@pytest.fixture
def files(tmp_path, capsys):
    """Return a scenario as TOML, and another as the JSON that a prediction printed."""
    scenario, answer = tmp_path / "before.toml", tmp_path / "after.json"
    scenario.write_text('[scenario]\ncluster = "mn-1"\n[scenario.plan]\ngpus = 16\nprecision = "fp32"\n')
    main(["predict", str(scenario), "--set", "cluster.inter_node.bandwidth=1 GB/s", "--format", "json"])
    answer.write_text(capsys.readouterr().out)
    return str(scenario), str(answer)


def test_the_table_names_both_and_fits_80_columns(files, capsys):
    assert main(["compare", *files]) == 0
    output, error = capsys.readouterr()
    assert error == ""
    assert "before.toml against after.json" in output
    assert "cluster.inter_node.bandwidth" in output
    assert "1 GB/s" in output
    assert max(map(len, output.splitlines())) <= 80


def test_json_has_inputs_and_outputs(files, capsys):
    assert main(["compare", *files, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [(one["path"], one["second"]) for one in content["inputs"]] == [("cluster.inter_node.bandwidth", "1 GB/s")]
    throughput = next(one for one in content["outputs"] if one["path"] == "throughput")
    assert throughput["ratio"] == throughput["second"] / throughput["first"] < 1


def test_a_file_that_is_missing_gets_one_line(files, capsys):
    assert main(["compare", files[0], "nowhere.json"]) == 2
    assert capsys.readouterr().err == "lbsim: no scenario file 'nowhere.json'\n"
