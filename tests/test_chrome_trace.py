import json

import pytest

from lbsim import Scenario, predict
from lbsim.chrome_trace import of_timeline
from lbsim.cli import main
from lbsim.timeline import Span, Timeline

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


def test_spans_that_overlap_stand_on_threads_of_their_own():
    spans = (
        Span("communication", "a", 0.0, 2.0),
        Span("communication", "b", 1.0, 3.0),
        Span("communication", "c", 2.0, 4.0),
    )
    events = of_timeline(Timeline(spans, 4.0), "x")
    threads = {event["name"]: event["tid"] for event in of_kind(events, "X")}
    assert threads["a"] == threads["c"] != threads["b"]
    names = [event["args"]["name"] for event in of_kind(events, "M") if event["name"] == "thread_name"]
    assert names == ["communication", "communication 2"]


def test_a_file_that_cannot_be_written_gets_one_line(tmp_path, capsys):
    assert main(["timeline", *SMALL, "--out", str(tmp_path)]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error == f"lbsim: --out {tmp_path}: Is a directory\n"


def test_a_timeline_without_a_file_to_write_gets_one_line(capsys):
    assert main(["timeline", *SMALL]) == 2
    assert "--out" in capsys.readouterr().err
