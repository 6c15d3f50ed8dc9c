import itertools
import json
from pathlib import Path

import pytest
import torch

from lbsim.errors import InputError
from lbsim.harness.communication import collectives
from lbsim.harness.communication.engines import attach, parse_options
from lbsim.harness.communication.fusion_buffers import plan_buffers
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.process_group import CommunicationError
from lbsim.harness.communication.step_recorder import HostClock, StepRecorder
from tests.harness import steps
from tests.harness.ranks import run

STEPS = Path(steps.__file__)
FUSIONS: dict[str, dict[str, object]] = {
    "none": {},
    "one-buffer": {},
    "threshold": {"fusion_threshold": "2 kB"},
    "ddp": {"fusion_threshold": "2 kB"},
    "split": {"fusion_split": [2, 4]},
    "horovod": {"fusion_warm_up": 1, "fusion_threshold": "2 kB", "fusion_cycle": "0.1 ms"},
    "mg-wfbp": {"fusion_warm_up": 1},
    "optimal": {"fusion_warm_up": 1},
}
"""Of Net's 6 tensors and 5.7 kB in fp32: 6, 1, 3, 1 and 3 buffers (DDP fills 1 MiB first).

Those that plan by times do so after the first of two steps, so the second travels as they planned.
"""


def groups(ranks):
    return {"group_size": 2 if ranks % 2 == 0 else ranks}


def said(ended):
    assert [one.code for one in ended] == [0] * len(ended), ended[0].err
    return [[json.loads(line) for line in one.out.splitlines()] for one in ended]


OF_FOUR: dict[str, list[dict[str, object]]] = {
    "groups": [{"all_reduce": name, "group_size": k} for name in ("hierarchical", "two-level") for k in (1, 2, 4)],
    "half": [
        {"all_reduce": name, "precision": precision, "group_size": 2}
        for name in collectives.NAMES
        for precision in ("fp16", "bf16")
    ],
    "large": [{"precision": "fp16", "peak": 40_000.0}],
    "odd": [
        {"unused": True, "fusion": "none"},
        {"unused": True, "overlap": False},
        {"unused": True, "order": "measured", "fusion": "threshold", "fusion_threshold": "2 kB"},
        {"passes": 3, "fusion": "none"},
    ],
}


@pytest.fixture(scope="module")
def of_four():
    """Return what each rank of four said of each kind of case, all run by the same processes."""
    everyones = said(run(4, STEPS, {"cases": [case for cases in OF_FOUR.values() for case in cases]}))
    ends = list(itertools.accumulate(len(cases) for cases in OF_FOUR.values()))
    return {
        kind: [answers[end - len(OF_FOUR[kind]) : end] for answers in everyones]
        for kind, end in zip(OF_FOUR, ends, strict=True)
    }


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_get_the_one_process_mean_by_every_algorithm_fusion_and_overlap(ranks):
    cases = [
        {"all_reduce": all_reduce, "fusion": fusion, "overlap": overlap, "hybrid_threshold": "1 kB"}
        | FUSIONS[fusion]
        | groups(ranks)
        for all_reduce, fusion, overlap in itertools.product(collectives.NAMES, FUSIONS, [True, False])
    ]
    for answers in said(run(ranks, STEPS, {"cases": cases})):
        assert len(answers) == len(cases)
        for case, answer in zip(cases, answers, strict=True):
            assert answer["error"] < 1e-5, case


def test_every_split_of_four_ranks_into_groups_gives_the_mean(of_four):
    for answers in of_four["groups"]:
        assert max(answer["error"] for answer in answers) < 1e-5


def test_half_precision_stays_within_its_rounding_bound(of_four):
    for answers in of_four["half"]:
        for case, answer in zip(OF_FOUR["half"], answers, strict=True):
            assert answer["of_bound"] <= 1.0, case
            assert answer["error"] > 1e-6, case  # it really travelled in half precision


def test_gradients_whose_sum_overflows_fp16_arrive_whole(of_four):
    (answer,) = of_four["large"][0]
    assert answer["largest"] == pytest.approx(40_000, rel=1e-3)  # four times this is beyond 65,504
    assert answer["of_bound"] <= 1.0


def test_unused_parameters_added_batches_and_a_measured_order_give_the_mean(of_four):
    for answers in of_four["odd"]:
        assert [answer["error"] < 1e-5 for answer in answers] == [True] * len(OF_FOUR["odd"])


def test_distributed_data_parallel_gives_the_same_mean_and_leaves_no_thread_of_gloo():
    """Such a thread, at work while Python ends, now and then aborted a rank."""
    cases = [{"engine": "ddp", "fusion_threshold": "2 kB"}, {"engine": "ddp", "fusion": "one-buffer"}]
    half = [{"engine": "ddp", "precision": "fp16"}]
    for answers in said(run(2, STEPS, {"cases": cases + half, "threads_left": True})):
        assert max(answer["error"] for answer in answers[:2]) < 1e-5
        assert answers[2]["of_bound"] <= 1.0
        assert answers[3] == []


def test_what_ranks_cannot_run_or_disagree_about_is_said_by_all_of_them():
    cases: list[dict[str, object]] = [
        {"all_reduce": "hierarchical", "group_size": 2},
        {"all_reduce": "two-level", "group_size": 7},
        {"engine": "ddp", "fusion": "none"},
        {"unused": False},
    ]
    told = [
        "group_size: 2 does not divide 3 ranks; use one of 1, 3",
        "group_size: 7 does not divide 3 ranks",
        "--engine ddp has no 'none'",
        "ranks differ in communication options: parameters is '6 tensors",
    ]
    others = {1: {"faults": [*cases[:-1], {"unused": True}]}}
    for ended in run(3, STEPS, {"cases": [], "faults": cases}, per_rank=others):
        assert ended.code == 0, ended.err
        for line, expected in zip(ended.out.splitlines(), told, strict=True):
            assert expected in line


def test_ranks_that_disagree_all_end_with_code_2_and_one_line():
    other = {1: {"cases": [{"fusion_threshold": "2 MiB"}]}}
    for ended in run(3, STEPS, {"cases": [{"fusion_threshold": "1 MiB"}]}, per_rank=other):
        assert ended.code == 2
        (line,) = ended.err.splitlines()
        assert "fusion_threshold is 1048576.0 on rank 0 and 2097152.0 on rank 1" in line


def test_a_rank_that_never_comes_ends_the_rendezvous_with_one_line():
    (ended,) = run(2, STEPS, {"cases": [{}], "timeout": 3}, start=[1])
    assert ended.code == 2
    assert "rank 1 of 2: no rendezvous at 127.0.0.1:" in ended.err


def test_buffers_are_the_ones_that_fusion_plans():
    named = list(steps.model().named_parameters())
    options = CommunicationOptions.of(fusion="split", **FUSIONS["split"])
    assert [buffer.tensors for buffer in plan_buffers(named, options, 2)] == [
        ("third.bias", "third.weight"),
        ("second.bias", "second.weight"),
        ("first.bias", "first.weight"),
    ]
    engine = FusionEngine(named, options)
    assert engine.buffers == plan_buffers(named, options, 1)
    engine.close()


def test_alone_an_engine_leaves_gradients_as_they_are():
    net = steps.model(unused=True)
    engine = FusionEngine(list(net.named_parameters()), CommunicationOptions())
    engine.begin_step()
    steps.loss(net, steps.batch(1)[0]).backward()
    before = net.first.weight.grad.clone()
    engine.finish_step()
    assert torch.equal(net.first.weight.grad, before)
    assert net.never.weight.grad is None
    engine.close()


def test_a_second_backward_pass_in_one_step_is_refused():
    net = steps.model()
    engine = FusionEngine(list(net.named_parameters()), CommunicationOptions())
    engine.begin_step()
    steps.loss(net, steps.batch(1)[0]).backward()
    with pytest.raises(CommunicationError, match="second gradient in one step"):
        steps.loss(net, steps.batch(1)[0]).backward()
    engine.close()


def test_options_say_what_is_wrong_in_one_line():
    with pytest.raises(InputError, match="did you mean 'two-level'"):
        CommunicationOptions.of(all_reduce="two_level")
    with pytest.raises(InputError, match="fusion_split"):
        CommunicationOptions.of(fusion="split")
    with pytest.raises(InputError, match="fusion_threshold"):
        CommunicationOptions.of(fusion_threshold="25")
    with pytest.raises(InputError, match="no 'horovod' in the harness's engines; there are: ddp, lbsim, plain"):
        attach("horovod", steps.model(), CommunicationOptions())
    with pytest.raises(InputError, match="no parameter that needs a gradient"):
        FusionEngine([], CommunicationOptions())


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["dies", "hangs"])
def test_a_rank_that_dies_or_hangs_stops_the_others_within_the_time_limit(fault):
    first, second = run(2, STEPS, {"cases": [{"timeout": 4}], "timeout": 4, fault: 1})
    assert second.code == 1
    assert first.code != 0


def test_the_plain_engine_has_no_options_and_the_others_check_theirs():
    assert parse_options("plain", []) == CommunicationOptions()
    assert parse_options("lbsim", ["fusion=none", "timeout=9 s"]).timeout == 9
    with pytest.raises(InputError, match="--communication fusion: --engine plain has no options"):
        parse_options("plain", ["fusion=none"])
    with pytest.raises(InputError, match="--communication overlap: no '='; write KEY=VALUE"):
        parse_options("ddp", ["overlap"])
    with pytest.raises(InputError, match="did you mean 'plain'"):
        parse_options("plane", [])


def test_the_plain_engine_records_the_end_of_its_all_reduce():
    net = steps.model()
    recorder = StepRecorder(0, HostClock(), [])
    _, engine = attach("plain", net, CommunicationOptions(), recorder)
    engine.begin_step()
    steps.loss(net, steps.batch(1)[0]).backward()
    recorder.mark("backward")
    assert engine.finish_step() is False
    (timeline,) = recorder.timelines()
    assert list(timeline.marks) == ["backward", "all_reduce"]
    assert 0 < timeline.marks["backward"] <= timeline.marks["all_reduce"]
    assert engine.state() == {}
    engine.close()
