from statistics import median

import pytest
import torch
from rich.progress import Progress

from lbsim.errors import InputError
from lbsim.harness import models
from lbsim.harness.bench import all_reduce, cli
from lbsim.harness.bench.model import benchmark_optimizer, require_precision
from lbsim.harness.bench.options import sample_shape
from lbsim.harness.bench.replay import Replay
from lbsim.harness.communication.fusion_engine import FusionEngine
from lbsim.harness.communication.options import CommunicationOptions
from lbsim.harness.communication.step_recorder import StepRecorder, clock
from lbsim.harness.optimizers.lars import LARS
from lbsim.harness.optimizers.momentum_sgd import MomentumSGD
from lbsim.harness.optimizers.rmsprop_to_sgd import RMSpropToSGD
from lbsim.measurements.trace import Evidence, Gradient, RankTimeline, Trace, read_trace, write_trace
from tests.harness import nets, recording
from tests.harness.ranks import launch

BENCH = ["-m", "lbsim.harness.bench"]
SMALL = ["--model", "tests.harness.nets:small", "--input", "3x16x16"]
CPU = torch.device("cpu")


def evidence():
    return Evidence(
        command="-", date="-", commit="-", host="-", cpu="-", cpus=1, threads=1, python="-", torch="-", backend="none"
    )


def pace(ready, *, forward=0.01, update=0.01):
    """A trace of one rank whose gradients, input side first, are ready *ready* seconds after forward."""
    end = forward + max(ready)
    timeline = RankTimeline(
        rank=0,
        step=0,
        began=0.0,
        marks={"forward": forward, "backward": end, "all_reduce": end, "step": end + update},
        gradients=tuple(
            Gradient(name=f"t{i}", elements=100 * (i + 1), ready=forward + ready[i])
            for i in reversed(range(len(ready)))
        ),
    )
    return Trace(measured="step", evidence=evidence(), gpus=1, timelines=(timeline,))


@pytest.fixture(scope="module")
def step_trace(tmp_path_factory):
    file = tmp_path_factory.mktemp("step") / "step.json"
    words = ["step", *SMALL, "--batches", "2,4", "--precisions", "fp32,bf16", "--repeats", "3", "--cpu"]
    assert cli.main([*words, "--out", str(file)]) == 0
    return read_trace(file)


def test_a_step_is_the_sum_of_its_parts_sample_by_sample(step_trace):
    parts = {
        (one.settings["precision"], one.settings["batch_per_gpu"], one.quantity): one.samples
        for one in step_trace.observations
        if not one.subject
    }
    assert len(parts) == 4 * 5  # precisions x batches, and forward, backward, engine, update, step_time
    for precision in ("fp32", "bf16"):
        for batch in (2, 4):
            *each, whole = (
                parts[precision, batch, quantity]
                for quantity in ("forward", "backward", "engine", "update", "step_time")
            )
            assert [sum(samples) for samples in zip(*each, strict=True)] == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "rmsprop-to-sgd"])
def test_the_update_that_is_timed_is_the_one_that_the_trace_names(optimizer, tmp_path):
    file = tmp_path / "step.json"
    words = ["step", *SMALL, "--batches", "2", "--repeats", "2", "--cpu", "--optimizer", optimizer]
    assert cli.main([*words, "--out", str(file)]) == 0
    trace = read_trace(file)
    assert trace.settings["optimizer"] == optimizer
    assert all(min(one.samples) > 0 for one in trace.observations if one.quantity == "update")
    kinds = {"lars": LARS, "sgd": MomentumSGD, "rmsprop-to-sgd": RMSpropToSGD}
    net = nets.small()
    made = benchmark_optimizer(optimizer, net)
    assert type(made) is kinds[optimizer]
    before = [parameter.detach().clone() for parameter in net.parameters()]
    net(torch.ones(2, 3, 16, 16)).square().sum().backward()
    made.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True) if old.dim() > 1)


def test_trains_step_is_timed_in_turns_with_a_plain_loop(tmp_path, capsys):
    file = tmp_path / "beside.json"
    words = ["step", *SMALL, "--batches", "2", "--precisions", "fp32,bf16,mixed", "--optimizer", "lars", "--cpu"]
    assert cli.main([*words, "--beside-plain", "--repeats", "3", "--out", str(file)]) == 0
    trace = read_trace(file)
    assert [one.subject for one in trace.observations] == ["harness", "plain"] * 3
    assert all(len(one.samples) == 3 and min(one.samples) > 0 for one in trace.observations)
    assert trace.settings["optimizer"] == "lars"
    said = [line for line in capsys.readouterr().out.splitlines() if "plain loop" in line]
    ours, plain = trace.observations[0], trace.observations[1]
    wanted = median(b / a for a, b in zip(ours.samples, plain.samples, strict=True))
    assert len(said) == 3
    assert float(said[0].rpartition(" ")[2]) == pytest.approx(wanted, abs=1e-3)  # three digits are printed


@pytest.mark.parametrize("more", [[], ["--beside-plain"]])
def test_a_batch_that_does_not_fit_is_said_and_left_out(more, tmp_path, capsys):
    file = tmp_path / "step.json"
    words = ["step", *SMALL, "--repeats", "1", "--warm-up", "0", "--cpu", "--optimizer", "sgd", *more]
    assert cli.main([*words, "--batches", "2,10000000000", "--out", str(file)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "lbsim: precision fp32 batch_per_gpu 10000000000: does not fit into memory; left out"
    assert {one.settings["batch_per_gpu"] for one in read_trace(file).observations} == {2}
    assert cli.main([*words, "--batches", "10000000000"]) == 2
    assert "--batches: none fits into memory" in capsys.readouterr().err


def test_a_model_gets_the_input_that_it_was_made_for():
    assert [sample_shape(model, None) for model in ("alexnet", "vgg16", "cnn")] == [(3, n, n) for n in (227, 224, 224)]
    assert sample_shape("alexnet", "1x8x8") == (1, 8, 8)


def test_ranks_that_measure_different_things_all_end_with_code_2_and_one_says_one_line():
    for words, other, told in (
        (["all-reduce"], ["--repeats", "3"], "--repeats: rank 0 has 20, rank 1 has 3"),
        (["scaling", *SMALL], ["--steps", "3"], "--steps: rank 0 has 20, rank 1 has 3"),
    ):
        first, second = launch(2, lambda rank, words=words, other=other: [*BENCH, *words, *(other if rank else [])])
        assert (first.code, second.code, second.err) == (2, 2, "")
        (line,) = first.err.splitlines()
        assert told in line


def test_each_layer_is_timed_forward_and_backward(step_trace):
    layers = {name for name, module in nets.small().named_modules() if name}
    for quantity in ("layer.forward", "layer.backward"):
        seen = {one.subject for one in step_trace.observations if one.quantity == quantity}
        assert seen == layers


def test_a_replay_takes_as_long_as_what_was_recorded():
    replay = Replay.of(pace([0.06, 0.04, 0.02]), "here")
    recorder = StepRecorder(0, clock(CPU), [(name, p.numel()) for name, p in replay.named()])
    engine = FusionEngine(replay.named(), CommunicationOptions(overlap=False), recorder)
    for _ in range(5):
        engine.begin_step()
        loss = replay()
        loss.backward()
        engine.finish_step()
    engine.close()
    seen = []
    for timeline in recorder.timelines():
        assert [gradient.name for gradient in timeline.gradients] == ["t2", "t1", "t0"]
        seen.append([gradient.ready or 0.0 for gradient in timeline.gradients])
        assert seen[-1] == sorted(seen[-1])
    earliest = [min(each) for each in zip(*seen, strict=True)]
    assert min(ready - due for ready, due in zip(earliest, [0.03, 0.05, 0.07], strict=True)) > -1e-3
    assert earliest == pytest.approx([0.03, 0.05, 0.07], abs=0.015)  # a shared machine wakes late, if not each time


def test_a_trace_without_timelines_cannot_be_replayed(tmp_path, capsys):
    bare = pace([0.1]).model_copy(update={"timelines": ()})
    with pytest.raises(InputError, match="no timelines to replay"):
        Replay.of(bare, "bare.json")
    assert cli.main(["scaling", "--replay", str(tmp_path / "none.json"), "--cpu"]) == 2
    assert "none.json: No such file" in capsys.readouterr().err


def test_ranks_that_replay_send_what_was_planned_when_it_was_ready(tmp_path):
    file, out = tmp_path / "pace.json", tmp_path / "scaling.json"
    write_trace(pace([0.03, 0.02, 0.01]), file)
    words = ["scaling", "--replay", str(file), "--fusion", "split", "--fusion-split", "1", "--steps", "3"]
    for ended in launch(2, [*BENCH, *words, "--out", str(out)]):
        assert ended.code == 0, ended.err
    trace = read_trace(out)
    assert sorted((timeline.rank, timeline.step) for timeline in trace.timelines) == [
        (r, s) for r in (0, 1) for s in range(3)
    ]
    for timeline in trace.timelines:
        first, second = timeline.buffers
        assert (first.tensors, second.tensors, first.message) == (("t2", "t1"), ("t0",), 2000.0)
        assert (timeline.gradients[1].ready or 0.0) <= first.ready <= first.sent <= first.received
        assert first.ready <= timeline.marks["backward"]  # it left while backward ran
        assert second.received <= timeline.marks["all_reduce"] <= timeline.marks["step"]


@pytest.mark.parametrize("engine", ["lbsim", "ddp"])
def test_scaling_records_every_gradient_and_buffer_of_every_rank(tmp_path, engine):
    out = tmp_path / "scaling.json"
    words = ["scaling", *SMALL, "--engine", engine, "--steps", "3", "--batch-per-gpu", "2"]
    for ended in launch(2, [*BENCH, *words, "--out", str(out)]):
        assert ended.code == 0, ended.err
    trace = read_trace(out)
    names = [name for name, _ in nets.small().named_parameters()]
    assert trace.evidence.backend == "gloo"
    assert [(one.subject, len(one.samples)) for one in trace.observations] == [("rank 0", 3), ("rank 1", 3)]
    for timeline in trace.timelines:
        assert [gradient.name for gradient in timeline.gradients] == names[::-1]
        assert all(gradient.ready is not None for gradient in timeline.gradients)
        assert sorted(name for buffer in timeline.buffers for name in buffer.tensors) == sorted(names)


def test_all_reduce_prints_the_columns_of_nccl_tests_and_keeps_each_sample(tmp_path):
    out = tmp_path / "all-reduce.json"
    words = ["all-reduce", "--sizes", "1 KiB,64 KiB", "--algorithms", "backend,two-level", "--precisions", "fp32,fp16"]
    first, second = launch(2, [*BENCH, *words, "--repeats", "5", "--out", str(out)])
    assert (first.code, second.code, second.out) == (0, 0, "")
    lines = first.out.splitlines()
    assert lines[1].split() == ["#", "size", "count", "type", "redop", "time", "algbw", "busbw"]
    assert lines[3].split()[:4] == ["1024", "256", "float", "sum"]
    assert lines[5].split()[:4] == ["1024", "512", "half", "sum"]
    trace = read_trace(out)
    assert [len(one.samples) for one in trace.observations] == [5] * 8
    assert {one.settings["message"] for one in trace.observations} == {1024, 65536}


@pytest.mark.parametrize(
    ("ranks", "words", "told"),
    [
        (2, ["all-reduce", "--out", f"{__file__}/trace.json"], "rank 0: --out"),
        (3, ["all-reduce", "--algorithms", "hierarchical", "--group-size", "2"], "2 does not divide 3 ranks"),
        (2, ["scaling", *SMALL[:2], "--input", "3x8x8"], "the model does not accept a batch"),
    ],
)
def test_what_cannot_run_ends_every_rank_with_code_2_and_says_one_line(ranks, words, told):
    first, *others = launch(ranks, [*BENCH, *words])
    assert [one.code for one in (first, *others)] == [2] * ranks
    (line,) = first.err.splitlines()
    assert line.startswith("lbsim: ")
    assert told in line
    assert [one.err for one in others] == [""] * len(others)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["all-reduce"], "an all-reduce needs two ranks; write torchrun"),
        (["all-reduce", "--sizes", "12"], "12"),
        (["scaling", "--model", "tests.harness.nets:huge"], "nets:huge"),
        (["scaling", "--model", "tests.harness.nets:small", "--input", "3x"], "'3x' is not the shape of a sample"),
        (["scaling", *SMALL, "--precision", "tf32"], "tf32: this cpu does not support it"),
        (["scaling", *SMALL, "--fusion", "most"], "fusion"),
        (["scaling", *SMALL, "--engine", "horovod"], "no engine 'horovod'"),
        (["scaling", "--replay", "none.json", "--engine", "ddp"], "write --engine lbsim"),
        (["scaling", "--steps", "many"], "--steps"),
        (["step", *SMALL, "--batches", "two"], "--batches: 'two' is not a positive integer"),
        (["step", *SMALL, "--optimizer", "larc"], "did you mean 'lars'"),
    ],
)
def test_what_cannot_run_is_said_in_one_line(words, told, capsys):
    assert cli.main([*words, "--cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_precisions_and_models_that_are_not_there_are_named():
    with pytest.raises(InputError, match="did you mean 'mixed'"):
        require_precision("mixd", CPU)
    with pytest.raises(InputError, match="it returns int, not a torch"):
        models.build_model("builtins:int", (3, 8, 8), 10)


def test_bus_bandwidth_is_what_nccl_tests_prints():
    """nccl-tests, doc/PERFORMANCE.md: busbw = algbw x 2(n-1)/n."""
    *_, algorithm, bus = all_reduce.row(8e9, 2 * 10**9, "fp32", 1.0, 8).split()
    assert (algorithm, bus) == ("8.000", "14.000")


@pytest.mark.slow
def test_recording_costs_at_most_2_percent_of_a_step():
    assert median(recording.ratios(60)) <= 1.02


@pytest.mark.parametrize("more", [[], ["--beside-plain"]])
def test_bench_step_reports_progress_after_each_step(more, tmp_path, monkeypatch):
    """On a terminal a bar shows it; the last call must complete the bar."""
    bars = []

    class Bar(Progress):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    monkeypatch.setattr(cli, "Progress", Bar)
    words = ["step", *SMALL, "--batches", "2,4", "--repeats", "2", "--warm-up", "1", "--cpu", "--optimizer", "sgd"]
    assert cli.main([*words, *more, "--out", str(tmp_path / "step.json")]) == 0
    (task,) = bars[0].tasks
    assert task.completed == task.total
    assert task.total >= 2 * 3
