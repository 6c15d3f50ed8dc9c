import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.errors import InputError
from lbsim.measurements.trace import (
    SCHEMA,
    Buffer,
    Evidence,
    Gradient,
    RankTimeline,
    Trace,
    TraceEntry,
    read_trace,
    write_trace,
)

CHECKOUT = Path(__file__).parents[2]
MEASURED = sorted((CHECKOUT / "traces" / "harness").glob("*.json"))

EVIDENCE = Evidence(
    command="torchrun --nproc-per-node 2 -m lbsim.harness.bench scaling",
    date="2026-11-21T11:00:00+00:00",
    commit="0123456789ab",
    host="here",
    cpu="a processor",
    cpus=2,
    threads=1,
    python="3.11.7",
    torch="2.13.0",
    backend="gloo",
)
BUFFER = Buffer(tensors=("b", "a"), message=12.0, all_reduce="backend", ready=0.25, sent=0.5, received=0.75)
TIMELINE = RankTimeline(
    rank=1,
    step=0,
    began=1.8e9,
    marks={"forward": 0.1, "backward": 0.3, "all_reduce": 0.8, "step": 0.9},
    gradients=(Gradient(name="b", elements=1, ready=0.2), Gradient(name="a", elements=2, ready=None)),
    buffers=(BUFFER,),
)
TRACE = Trace(
    measured="scaling",
    evidence=EVIDENCE,
    gpus=2,
    settings={"fusion": "none", "overlap": True, "group_size": None},
    observations=(TraceEntry(quantity="step_time", subject="rank 0", samples=(0.9, 1.1, 1.0)),),
    timelines=(TIMELINE,),
)


def stored(tmp_path, **changes):
    file = tmp_path / "trace.json"
    content = json.loads(TRACE.model_dump_json())
    for path, value in changes.items():
        table = content
        *above, last = path.split("__")
        for key in above:
            table = table[int(key) if key.isdecimal() else key]
        table[last] = value
    file.write_text(json.dumps(content))
    return file


def test_what_is_written_is_read_back(tmp_path):
    file = tmp_path / "deep" / "trace.json"
    write_trace(TRACE, file)
    assert read_trace(file) == TRACE
    assert [left.name for left in file.parent.iterdir()] == ["trace.json"]


def test_writing_replaces_a_trace_whole(tmp_path):
    file = tmp_path / "trace.json"
    file.write_text("old")
    write_trace(TRACE, file)
    assert read_trace(file) == TRACE


def test_the_median_is_that_of_the_samples():
    assert TRACE.observations[0].median == 1.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": SCHEMA + 1}, "version: 2 is another schema than this lbsim reads, which is 1"),
        ({"evidence__date": ""}, "evidence.date"),
        ({"evidence__gpus": 4}, "no field 'evidence.gpus'"),
        ({"observations__0__samples": [1.0, -1.0]}, "observations.0.samples.1"),
        ({"observations__0__samples": [float("nan")]}, "observations.0.samples.0"),
        ({"observations__0__samples": [float("inf")]}, "observations.0.samples.0"),
        ({"observations__0__samples": [1e9]}, "observations.0.samples.0"),
        ({"observations__0__samples": []}, "observations.0.samples"),
        ({"timelines__0__rank": 2}, "rank 2 of 2 ranks"),
        ({"timelines__0__buffers__0__sent": 9.0}, "timelines.0.buffers.0: received"),
        ({"observations": [], "timelines": []}, "nothing was measured"),
    ],
)
def test_a_trace_that_cannot_be_is_refused_in_one_line_that_names_file_and_field(tmp_path, change, told):
    file = stored(tmp_path, **change)
    with pytest.raises(InputError) as refused:
        read_trace(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_trace(tmp_path / "none.json")
    file = stored(tmp_path)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match=r"Invalid JSON"):
        read_trace(file)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_trace_is_read_or_refused_but_never_a_traceback(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("damaged") / "trace.json"
    whole = bytearray(TRACE.model_dump_json().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 40)))
        whole[start:end] = data.draw(
            st.sampled_from([b"", b"NaN", b"-1", b"1e999", b"[", b"{}", b'"', b"\xff", b"[" * 999])
        )
    file.write_bytes(bytes(whole))
    with contextlib.suppress(InputError):
        read_trace(file)


@pytest.mark.parametrize("file", MEASURED, ids=lambda file: file.stem)
def test_what_ships_was_measured_as_it_says(file):
    trace = read_trace(file)
    assert "lbsim.harness" in trace.evidence.command
    assert not trace.evidence.commit.endswith("-dirty")
    assert file.stat().st_size < 1_000_000  # every layer of ResNet-152 at three batches


@pytest.mark.parametrize("file", MEASURED, ids=lambda file: file.stem)
def test_no_measured_all_reduce_beats_its_memory(file):
    """A bus bandwidth over loopback beyond 100 GB/s would be a clock that was read before the work was done."""
    trace = read_trace(file)
    for one in trace.observations:
        if one.quantity == "all_reduce":
            assert float(str(one.settings["message"])) / one.median < 100e9
