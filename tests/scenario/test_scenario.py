import json

import pytest

from lbsim import InputError, Scenario, override, predict


def scenario(**plan):
    return Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017", **plan)


def test_the_plan_takes_missing_fields_from_the_software():
    assert scenario().plan.overlap is False
    assert scenario(overlap=True).plan.overlap is True


def test_a_scenario_is_read_back_equal_from_its_json():
    given = override(scenario(), {"anchor.throughput": "218 samples/s", "cluster.inter_node.latency": 1.23456789e-6})
    assert Scenario.read(json.loads(given.model_dump_json())) == given


def test_a_dotted_path_changes_a_single_field():
    before, after = scenario(), override(scenario(), {"cluster.inter_node.bandwidth": "25 GB/s"})
    assert after.cluster.inter_node.bandwidth == 25e9
    assert override(after, {"cluster.inter_node.bandwidth": before.cluster.inter_node.bandwidth}) == before


def test_a_nested_profile_is_replaced_by_name():
    assert override(scenario(), {"cluster.inter_node": "pcie-3"}).cluster.inter_node.name == "pcie-3"


def test_an_unset_table_is_created_by_setting_one_of_its_fields():
    anchor = override(scenario(), {"anchor.throughput": "218 samples/s"}).anchor
    assert anchor is not None
    assert anchor.throughput == 218


def test_switches_and_lists_are_read_from_text():
    changed = override(scenario(), {"plan.overlap": "true", "plan.fusion_split": "20,76"})
    assert changed.plan.overlap is True
    assert changed.plan.fusion_split == (20, 76)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("cluster.inter_node.bandwith", "1 GB/s", "did you mean 'bandwidth'? cluster.inter_node has: bandwidth"),
        ("cluster.inter_node.bandwidth", "25", "25 has no unit; write it as e.g. '25 GB/s'"),
        ("cluster.inter_node.bandwidth", "-3 GB/s", "must be more than zero"),
        ("cluster.inter_node", "ib-fdx", "no 'ib-fdx' in hardware_profiles/links; did you mean 'ib-fdr'?"),
        ("plan.all_reduce", "rign", "no 'rign' in lbsim/communication/all_reduce; did you mean 'ring'?"),
        ("plan.gpus", "many", "gpus"),
        ("plan.gpus", "0", "gpus"),
        ("plan.gpus.x", "1", "'gpus' has no fields"),
        ("plan.fusion", "split", "needs fusion_split"),
        ("plan.epochs", "nan", "epochs"),
        ("network", "1", "a scenario"),
    ],
)
def test_an_invalid_override_is_refused_with_the_correction(path, value, said):
    with pytest.raises(InputError) as error:
        override(scenario(), {path: value})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_model_is_refused_with_the_closest_name():
    with pytest.raises(InputError, match="did you mean 'resnet50'"):
        predict(Scenario.of(gpus=1, model="resnet5", software="chainer-2017"))
