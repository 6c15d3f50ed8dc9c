import csv
import io
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from typer.testing import CliRunner

from lbsim import Scenario, predict
from lbsim.cli.app import app, main
from lbsim.cli.commands.report import _other
from lbsim.errors import InputError
from lbsim.profiles.module_catalog import module_names
from lbsim.report import RECORD_SYSTEMS, Price, Report, ReportScenarios, draw_all, labelled, record_report, write
from lbsim.report.picture import STYLE

FIGURES = module_names("figures")
AKIBA = Scenario.of(gpus=1024, cluster="mn-1", software="chainer-2017", batch_per_gpu=32, precision="fp32")
SCENARIOS = ReportScenarios(
    labelled([AKIBA, Scenario.of(gpus=64, cluster="dgx-a100")], [Price(2.5, "USD"), Price(1.0, "USD")])
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("report") / "made" / "here"
    write(Report("A title", SCENARIOS, "lbsim report --gpus 1024"), place)
    return place


@pytest.fixture(scope="module")
def drawn():
    with mpl.rc_context(STYLE):
        return {one.name.replace("-", "_"): one for one in draw_all(Report("A title", SCENARIOS, "a command"))}


def texts(figure):
    return [text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_in_words_and_numbers_what_it_draws(drawn, name):
    picture = drawn[name].picture
    assert picture is not None
    assert re.search(r"\d", picture.description)
    assert picture.description.endswith(".")
    assert picture.numbers
    for number in picture.numbers:
        assert number.series
        assert number.unit
        assert math.isfinite(number.y)
        if number.low is not None:
            assert number.high is not None
            assert number.low <= number.high


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_names_its_axes_and_keeps_its_labels_on_the_sheet(drawn, name):
    figure = drawn[name].picture.figure
    assert any(texts(figure))
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_each_figure_is_a_file_of_each_format(folder, name, suffix, magic):
    content = (folder / f"{name.replace('_', '-')}.{suffix}").read_bytes()
    assert content.startswith(magic)
    assert len(content) < 300_000


@pytest.mark.parametrize("name", FIGURES)
def test_text_in_a_drawing_is_text(folder, name):
    drawing = ET.parse(folder / f"{name.replace('_', '-')}.svg")
    assert [element for element in drawing.iter() if element.tag.endswith("}text")]


def test_every_number_is_in_the_table_of_numbers(folder, drawn):
    rows = list(csv.DictReader(io.StringIO((folder / "numbers.csv").read_text())))
    assert list(rows[0]) == ["figure", "series", "x", "y", "low", "high", "unit"]
    assert len(rows) == sum(len(one.picture.numbers) for one in drawn.values())
    told = [row for row in rows if row["figure"] == "scaling" and row["series"].endswith(": throughput")]
    asked = next(row for row in told if row["x"] == "1024" and "mn-1" in row["series"])
    assert float(asked["y"]) == pytest.approx(predict(AKIBA).throughput, rel=1e-5)  # six digits are written
    assert float(asked["low"]) < float(asked["y"]) < float(asked["high"])


def test_what_was_published_stands_on_the_scaling_figure(drawn):
    published = {
        (number.x, number.y) for number in drawn["scaling"].picture.numbers if "published (Akiba" in number.series
    }
    assert published == {(1024, 70.0), (1024, 80.0)}  # efficiency against one GPU and one node: their figure 1


def test_the_parts_of_a_step_add_up_to_the_step(drawn):
    parts = [n.y for n in drawn["step_time"].picture.numbers if n.x == 1024 and "mn-1" in n.series]
    assert sum(parts) == pytest.approx(1e3 * predict(AKIBA).step_time)


def test_cost_is_gpu_hours_times_the_price(drawn):
    step = predict(AKIBA)
    costs = [n for n in drawn["trade_off"].picture.numbers if n.unit == "USD" and "mn-1" in n.series]
    asked = min(costs, key=lambda number: abs(number.x - step.time_to_train / 60))
    assert asked.y == pytest.approx(2.5 * 1024 * step.time_to_train / 3600)


def test_tables_4_and_5_of_jia_stand_beside_predictions(drawn):
    rows = drawn["time_to_train"].picture.numbers
    published = {(number.series, round(number.y, 1)) for number in rows if number.series.endswith(": published")}
    table_4 = {("alexnet: published", 370.0), *(("alexnet-bn: published", minutes) for minutes in (11, 5, 4))}
    table_5 = {("resnet50: published", minutes) for minutes in (29 * 60, 60, 50, 42, 20, 8.7, 6.6)}
    assert table_4 | table_5 <= published
    assert ("resnet50: published", round(897.9 / 60, 1)) in published  # printed as 15 min


def test_the_same_figure_is_the_same_files(folder, tmp_path):
    write(Report("A title", SCENARIOS, "lbsim report --gpus 1024", ("timeline",)), tmp_path)
    for file in (f"timeline.{suffix}" for suffix in ("png", "svg", "pdf")):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_the_page_asks_for_nothing_from_elsewhere(folder):
    page = (folder / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|numbers\.csv")[^"]*"', page)
    assert not re.findall(r"@import|url\(", page)
    assert "lbsim report --gpus 1024" in page
    assert AKIBA.cluster.source[:40] in page
    assert page.count("<img") == len(FIGURES) == page.count('<img alt="')
    assert "<!--" not in page


def test_one_gpu_has_no_all_reduce_to_draw(tmp_path):
    only = ("all_reduce", "fusion_threshold", "step_time")
    write(Report("Alone", ReportScenarios(labelled([Scenario.of(gpus=1)])), "lbsim report --gpus 1", only), tmp_path)
    assert "Not drawn: one GPU has no all-reduce" in (tmp_path / "index.html").read_text()
    assert not list(tmp_path.glob("all-reduce.*"))
    assert (tmp_path / "step-time.svg").is_file()


def test_who_interrupts_finds_what_was_there_before(tmp_path):
    place = tmp_path / "kept"
    place.mkdir()
    (place / "index.html").write_text("before")
    too_much = Scenario.of(gpus=8, batch_per_gpu=10**6)  # does not fit the memory, which shows half way
    with pytest.raises(InputError):
        write(Report("Broken", ReportScenarios(labelled([too_much])), "a command"), place)
    assert [file.name for file in place.iterdir()] == ["index.html"]
    assert (place / "index.html").read_text() == "before"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--price", "cheap"], "--price: 'cheap'"),
        (["--price", "2.5"], "write it as e.g. '2.50 USD'"),
        (["--price", "0 USD"], "more than zero"),
        (["--price", "1 USD", "--price", "2 USD", "--price", "3 USD"], "3 prices for 1 scenarios"),
        (["--with", "dgx-h1000"], "dgx-h1000"),
        (["--with", "missing.json"], "missing.json"),
        (["--seeds", "--gpus", "8"], "--seeds has its own scenarios"),
        (["--model", "resnet50"], "--gpus is missing"),
    ],
)
def test_what_cannot_be_used_is_one_line(words, told, tmp_path, capsys):
    assert main(["report", "--out", str(tmp_path / "out"), *words]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["report", "--out", str(tmp_path / "file" / "below")]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"lbsim: cannot write {tmp_path / 'file' / 'below' / 'index.html'}: Not a directory; ")
    assert message.count("\n") == 1


def test_the_command_says_how_it_was_called(tmp_path):
    words = ["--gpus", "16", "--cluster", "mn-1", "--with", "dgx-a100", "--price", "2 USD", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["report", *words])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith(str(tmp_path / "index.html"))
    page = (tmp_path / "index.html").read_text()
    assert "lbsim report --gpus 16 --cluster mn-1 --with dgx-a100 --price &#39;2 USD&#39;" in page
    assert {"mn-1", "dgx-a100"} <= set(re.findall(r"<td>([^<]+)</td>", page))


@pytest.mark.parametrize("system", RECORD_SYSTEMS, ids=lambda system: system.name)
def test_a_record_system_is_drawn_with_every_model_and_batch_that_it_trains(system):
    report = record_report(system, "lbsim report --seeds")
    entries = [(entry.scenario.model, entry.scenario.plan.batch_per_gpu) for entry in report.scenarios.entries]
    assert len(set(entries)) == len(entries)
    expected = {
        "you2017": {("alexnet", 64), ("alexnet", 512), ("alexnet-bn", 64), ("alexnet-bn", 512)},
        "akiba2017": {("resnet50", 32)},
        "jia2018": {("resnet50", 64), ("resnet50", 32), ("alexnet-bn", 128), ("alexnet-bn", 64)},
    }
    assert set(entries) == expected[system.name]


def test_other_commands_start_without_matplotlib():
    asked = "import sys, lbsim.cli.app; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_a_scenario_file_stands_beside_another(tmp_path):
    (tmp_path / "other.toml").write_text('[scenario]\ncluster = "minsky"\n[scenario.plan]\ngpus = 4\n')
    first = Scenario.of(gpus=4)
    assert _other(str(tmp_path / "other.toml"), first, None).cluster.name == "minsky"
    assert _other("mn-1", first, None).plan == first.plan


def test_markup_in_a_name_is_text_on_the_page(tmp_path):
    command = "lbsim report --model '<script>alert(1)</script>.json'"
    entries = labelled([Scenario.of(gpus=1)])
    write(Report("<b>bold</b> & {{ 7 * 7 }}", ReportScenarios(entries), command, ("step_time",)), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "<title>&lt;b&gt;bold&lt;/b&gt; &amp; {{ 7 * 7 }}</title>" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
