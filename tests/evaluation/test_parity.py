import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lbsim.cli.app import main
from lbsim.evaluation.validate import Validation, validate
from lbsim.profiles.catalog import PUBLISHED_CASES
from lbsim.report.figures.parity import picture

JIA = PUBLISHED_CASES / "jia2018.toml"
ASKED = ["validate", "--cases", str(JIA)]


def test_each_result_is_a_point_at_what_was_published_and_the_ratio_to_it():
    validation = validate(JIA)
    drawn = {
        (round(float(x), 9), round(float(y), 9))
        for axes in picture(validation).figure.axes
        for line in axes.get_lines()
        if line.get_linestyle() == "None"
        for x, y in np.asarray(line.get_xydata())
    }
    assert drawn == {(round(one.observed, 9), round(one.predicted / one.observed, 9)) for one in validation.results}


def test_each_interval_is_a_line_from_its_low_to_its_high_end():
    validation = validate(JIA)
    bars = {
        tuple(round(float(y), 9) for y in np.asarray(line.get_ydata()))
        for axes in picture(validation).figure.axes
        for line in axes.get_lines()
        if line.get_linestyle() == "-" and line.get_alpha()
    }
    assert bars == {
        (round(one.low / one.observed, 9), round(one.high / one.observed, 9))
        for one in validation.results
        if one.low is not None and one.high is not None
    }


def test_no_two_classes_look_alike_in_grey():
    one, *_ = validate(JIA).results
    cases = [replace(one.observation.case, class_=f"class {number:02}") for number in range(16)]
    validation = Validation(tuple(replace(one, observation=replace(one.observation, case=case)) for case in cases))
    looks = {}
    for axes in picture(validation).figure.axes:
        for line in axes.get_lines():
            if line.get_linestyle() == "None":
                looks[line.get_label()] = (line.get_marker(), line.get_markerfacecolor() == "none")
    assert len(looks) == 16
    assert len(set(looks.values())) == len(looks)


@pytest.mark.parametrize("name", ["parity.png", "deeper/parity.SVG"])
def test_the_command_writes_a_picture_and_still_prints_the_table(name, tmp_path, capsys):
    file = tmp_path / name
    assert main([*ASKED, "--figure", str(file)]) == 0
    out, told = capsys.readouterr()
    assert "JIA-005" in out
    assert told == f"lbsim: wrote {file}\n"
    assert [one.name for one in file.parent.iterdir()] == [file.name]  # nothing else is left
    if name.endswith("png"):
        with Image.open(file) as picture_:
            assert min(picture_.size) > 500
    else:
        assert "predicted / published" in "".join(ET.parse(file).getroot().itertext())


def test_what_cannot_be_written_is_said_and_leaves_what_was_there(tmp_path, capsys):
    (tmp_path / "file").write_text("what was there")
    assert main([*ASKED, "--figure", str(tmp_path / "file" / "parity.png")]) == 2
    (tmp_path / "folder.png").mkdir()
    assert main([*ASKED, "--figure", str(tmp_path / "folder.png")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 2
    assert errors.count("lbsim: cannot write ") == 2
    assert (tmp_path / "file").read_text() == "what was there"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder.png"]
