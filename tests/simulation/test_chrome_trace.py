import json
from itertools import pairwise
from pathlib import Path

import pytest

from lbsim import Scenario, predict
from lbsim.cli.app import main
from lbsim.simulation.chrome_trace import timeline_to_chrome_trace
from lbsim.simulation.timeline import Span, Timeline

SMALL = ["--gpus", "16", "--cluster", "mn-1", "--software", "pytorch-nccl", "--precision", "fp32"]
TIMELINE = predict(Scenario.of(gpus=16, cluster="mn-1", precision="fp32")).timeline


@pytest.fixture
def trace(tmp_path):
    """Return the trace that the command writes."""
    file = tmp_path / "step.json"
    assert main(["timeline", *SMALL, "--out", str(file)]) == 0
    return json.loads(file.read_text())


def of_kind(trace, kind):
    return [event for event in trace["traceEvents"] if event["ph"] == kind]


def test_every_event_has_the_fields_of_the_format(trace):
    for event in trace["traceEvents"]:
        assert {"name", "ph", "pid", "tid"} <= set(event)
        assert event["ph"] in {"X", "M"}
    for event in of_kind(trace, "X"):
        assert event["ts"] >= 0
        assert event["dur"] >= 0


def test_streams_are_threads_with_names(trace):
    threads = {event["tid"]: event["args"]["name"] for event in of_kind(trace, "M") if event["name"] == "thread_name"}
    assert list(threads.values())[:2] == ["compute", "communication"]
    assert {event["tid"] for event in of_kind(trace, "X")} == set(threads)
    (process,) = [event for event in of_kind(trace, "M") if event["name"] == "process_name"]
    assert "resnet50 on 16 GPUs of mn-1" in process["args"]["name"]


def test_spans_are_those_of_the_step_in_microseconds(trace):
    spans = of_kind(trace, "X")
    assert len(spans) == len(TIMELINE.spans)
    assert max(span["ts"] + span["dur"] for span in spans) == pytest.approx(TIMELINE.step_time * 1e6)
    busy = sum(span["dur"] for span in spans if span["cat"] == "compute")
    assert busy == pytest.approx(TIMELINE.busy("compute") * 1e6)


def test_overlapping_spans_are_on_separate_threads():
    spans = (
        Span("communication", "a", 0.0, 2.0),
        Span("communication", "b", 1.0, 3.0),
        Span("communication", "c", 2.0, 4.0),
    )
    events = timeline_to_chrome_trace(Timeline(spans, 4.0), "x")
    threads = {event["name"]: event["tid"] for event in of_kind(events, "X")}
    assert threads["a"] == threads["c"] != threads["b"]
    names = [event["args"]["name"] for event in of_kind(events, "M") if event["name"] == "thread_name"]
    assert names == ["communication", "communication 2"]


def test_a_file_that_cannot_be_written_is_refused_in_one_line(tmp_path, capsys):
    assert main(["timeline", *SMALL, "--out", str(tmp_path)]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error == f"lbsim: cannot write {tmp_path}: Is a directory; choose the name of a file, not of a folder\n"


def test_a_timeline_without_an_output_file_is_refused_in_one_line(capsys):
    assert main(["timeline", *SMALL]) == 2
    assert "--out" in capsys.readouterr().err


TRACES = Path(__file__).parents[2] / "traces" / "harness"
MEASURED = [TRACES / f"scaling-{engine}-loopback-2.json" for engine in ("lbsim", "ddp")]
NETWORK = ["--set", "plan.batch_per_gpu=16", "--cluster", "mn-1"]


def written(out, *arguments):
    assert main(["timeline", *map(str, arguments), "--out", str(out)]) == 0
    return json.loads(out.read_text())


def processes(trace):
    named = [event for event in of_kind(trace, "M") if event["name"] == "process_name"]
    return {event["pid"]: event["args"]["name"] for event in named}


def obeys_the_format(trace):
    """Check what "Trace Event Format", Google, 2016, asks of complete and of metadata events."""
    threads = {(e["pid"], e["tid"]) for e in of_kind(trace, "M") if e["name"] == "thread_name" and e["args"]["name"]}
    for event in trace["traceEvents"]:
        assert event["ph"] in {"X", "M"}
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["pid"] in processes(trace)
    for event in of_kind(trace, "X"):
        assert event["name"]
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert (event["pid"], event["tid"]) in threads
    lanes: dict[tuple[int, int], list[dict[str, float]]] = {}
    for event in sorted(of_kind(trace, "X"), key=lambda event: event["ts"]):
        lanes.setdefault((event["pid"], event["tid"]), []).append(event)
    for lane in lanes.values():
        for one, following in pairwise(lane):
            assert one["ts"] + one["dur"] <= following["ts"] + 1e-3  # µs; traces are rounded to 0.1 of one
    return True


@pytest.mark.parametrize("file", MEASURED, ids=lambda file: file.stem)
def test_a_measured_step_has_the_times_of_its_trace(file, tmp_path):
    trace = written(tmp_path / "measured.json", "--trace", file, "--step", 3)
    assert obeys_the_format(trace)
    names = processes(trace)
    assert [name.partition(",")[0] for name in names.values()] == ["rank 0", "rank 1"]
    recorded = {one["rank"]: one for one in json.loads(file.read_text())["timelines"] if one["step"] == 3}
    for process, rank in zip(names, recorded, strict=True):
        spans = [event for event in of_kind(trace, "X") if event["pid"] == process]
        sent = sorted((span["ts"], span["dur"]) for span in spans if span["cat"] == "communication")
        told = sorted((1e6 * one["sent"], 1e6 * (one["received"] - one["sent"])) for one in recorded[rank]["buffers"])
        assert sent == [pytest.approx(one) for one in told]
        (forward,) = [span for span in spans if span["name"] == "forward"]
        assert forward["dur"] == pytest.approx(1e6 * recorded[rank]["marks"]["forward"])
        end = max(span["ts"] + span["dur"] for span in spans)
        assert end == pytest.approx(1e6 * recorded[rank]["marks"]["step"])
        busy = sum(span["dur"] for span in spans if span["cat"] == "compute" and span["name"].startswith("backward"))
        marks = recorded[rank]["marks"]
        assert busy == pytest.approx(1e6 * (marks["backward"] - marks["forward"]))


def test_measured_and_simulated_steps_are_in_one_file(tmp_path):
    trace = written(tmp_path / "both.json", "--trace", MEASURED[0], *NETWORK)
    assert obeys_the_format(trace)
    first, *others = processes(trace).values()
    assert first == "resnet50 on 2 GPUs of mn-1, simulated"
    assert [name.rpartition(", ")[2] for name in others] == ["measured", "measured"]
    alone = written(tmp_path / "alone.json", "--gpus", 2, *NETWORK)
    assert of_kind(trace, "X")[: len(of_kind(alone, "X"))] == of_kind(alone, "X")


def test_the_step_that_is_shown_is_a_typical_one(tmp_path):
    trace = written(tmp_path / "measured.json", "--trace", MEASURED[1])
    step = int(next(iter(processes(trace).values())).split("step ")[1].split()[0])
    took = [0.0] * 8
    for one in json.loads(MEASURED[1].read_text())["timelines"]:
        took[one["step"]] = max(took[one["step"]], one["marks"]["step"])
    assert sorted(took).index(took[step]) in {3, 4}


def broken(trace, how):
    content = json.loads(trace)
    match how:
        case "truncated":
            return trace[: len(trace) // 2]
        case "another schema":
            return json.dumps(content | {"version": 2, "unheard": 1})
        case "no trace":
            return "[1, 2]"
        case "backwards":
            content["timelines"][0]["buffers"][0]["sent"] = 1e3
            return json.dumps(content)
        case "empty":
            return ""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", "EOF"),
        ("another schema", "2 is another schema"),
        ("no trace", ""),
        ("backwards", "in this order"),
        ("empty", "EOF"),
    ],
)
def test_a_trace_that_cannot_be_read_is_refused_in_one_line(how, said, tmp_path, capsys):
    file = tmp_path / "measured.json"
    file.write_text(broken(MEASURED[0].read_text(), how))
    assert main(["timeline", "--trace", str(file), "--out", str(tmp_path / "out.json")]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith(f"lbsim: --trace {file}: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trace", "nowhere.json"], "No such file"),
        (["--trace", str(TRACES / "all-reduce-gloo-loopback-2.json")], "it has no step"),
        (["--trace", str(MEASURED[0]), "--step", "8"], "steps 0 to 7"),
        (["--gpus", "8", "--step", "1"], "--trace"),
        ([], "--gpus is missing"),
    ],
)
def test_a_trace_without_a_timeline_is_refused_in_one_line(arguments, said, tmp_path, capsys):
    assert main(["timeline", *arguments, "--out", str(tmp_path / "out.json")]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert said in error
    assert error.count("\n") == 1
