import json
import math

import pytest

from lbsim import Scenario
from lbsim.cli.app import main
from lbsim.communication.collective_time import time_all_reduce
from lbsim.evaluation.cross_validation.correction_fit import Predictions
from lbsim.evaluation.cross_validation.leave_out import leave_out
from lbsim.evaluation.cross_validation.summary import summaries

HEAD = """
source = "a paper"
system = "They et al."
[scenario]
cluster = "mn-1"
software = "chainer-2017"
[scenario.plan]
gpus = 16
batch_per_gpu = 32
"""
LINK = "cluster.inter_node.efficiency"


@pytest.fixture
def cases(tmp_path):
    """Write all-reduces over links of 0.6 of what the profile says and return their folder."""
    really = Scenario.of(gpus=16, cluster="mn-1", software="chainer-2017")
    slow = really.cluster.inter_node.model_copy(update={"efficiency": really.cluster.inter_node.efficiency * 0.6})
    really = really.model_copy(update={"cluster": really.cluster.model_copy(update={"inter_node": slow})})
    entries = []
    for gpus in (16, 32, 64):
        there = really.model_copy(update={"plan": really.plan.model_copy(update={"gpus": gpus})})
        for size in (2**24, 2**26, 2**28):
            seconds = time_all_reduce(there, size).time
            entries.append(
                f'[[observed]]\nid = "X-{gpus}-{size}"\nquantity = "all_reduce_time"\nvalue = "{seconds} s"\n'
                f'message = "{size} B"\nrole = "calibrate"\nclass = "all-reduce"\nset = {{ "plan.gpus" = {gpus} }}\n'
            )
    (tmp_path / "they.toml").write_text(HEAD + "\n".join(entries))
    return tmp_path


@pytest.mark.parametrize("kind", ["scale", "model"])
def test_what_the_others_say_of_a_link_is_used_for_what_is_left_out(cases, kind):
    held_out = leave_out(kind, cases)
    assert len(held_out.residuals) == 9  # three sizes on each of three numbers of GPUs, each left out in turn
    for fitted, shipped in zip(held_out.residuals, held_out.shipped, strict=True):
        assert abs(fitted.logarithm) < 0.1  # before the fit it is ln 0.6, -0.5; the prior holds some of it back
        assert shipped.logarithm < -0.4


def test_what_is_left_out_is_not_fitted_to(cases):
    before = {one.observation.case.id: one.logarithm for one in leave_out("scale", cases).residuals}
    file = cases / "they.toml"
    entries = file.read_text().split("[[observed]]")
    entries[-1] = entries[-1].replace('value = "', 'value = "9')
    file.write_text("[[observed]]".join(entries))
    after = {one.observation.case.id: one.logarithm for one in leave_out("scale", cases).residuals}
    changed = {name for name in before if not math.isclose(before[name], after[name], rel_tol=1e-9)}
    left_out_with_it = {f"X-64-{2**power}" for power in (24, 26)}
    assert f"X-64-{2**28}" in changed  # because it is compared with another number
    assert not changed & left_out_with_it


def test_what_is_left_out_starts_from_what_is_known_without_its_system(cases):
    """The profile's efficiency was fitted to these rows, say; without them 0.1 is thought of a link no row tells of."""
    file = cases / "they.toml"
    before = leave_out("scale", cases).shipped
    without = '"cluster.inter_node.efficiency" = 0.1, "software.library.streams" = 2'
    file.write_text(file.read_text().replace('system = "They et al."', f'system = "They"\nunfitted = {{ {without} }}'))
    after = leave_out("scale", cases).shipped
    assert [one.logarithm for one in after] == pytest.approx([one.logarithm for one in before])
    for one in after:
        assert one.observation.unfitted is not None
        assert one.observation.unfitted.software.library.streams == 2
        # far too slow, with a tenth of the rated bandwidth
        assert Predictions().logarithm(one.observation, {}) > 1


def test_of_a_system_alone_the_intervals_are_from_its_other_sizes(cases):
    (summary,) = summaries("model", leave_out("model", cases))
    assert (summary.class_, summary.count, summary.outliers) == ("all-reduce", 9, 0)
    assert summary.reached is (summary.mean <= 0.08 and summary.worst <= 0.2)
    assert 0 < (summary.half_width or 0) < 0.2


def test_the_command_prints_a_line_for_each_class(cases, capsys):
    assert main(["validate", "--cases", str(cases), "--leave-out", "model", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [one["class_"] for one in content["classes"]] == ["all-reduce"]
    assert main(["validate", "--cases", str(cases), "--leave-out", "model"]) == 0
    assert "all-reduce" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "told"), [("sytem", "did you mean 'system'?"), ("system", "no case in")])
def test_what_cannot_be_left_out_is_said_in_one_line(cases, capsys, kind, told):
    assert main(["validate", "--cases", str(cases), "--leave-out", kind]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
