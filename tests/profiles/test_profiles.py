import re

import pytest

from lbsim import InputError
from lbsim.accuracy.recipe import Recipe
from lbsim.calibration.calibration import Calibration
from lbsim.cli.app import main
from lbsim.cli.profile_description import calibrated_text
from lbsim.cli.profile_kinds import CALIBRATED_KINDS
from lbsim.profiles import catalog
from lbsim.profiles.catalog import SHIPPED, Folders, read_toml
from lbsim.profiles.hardware import Accelerator, Cluster, Link
from lbsim.profiles.profile import Profile
from lbsim.profiles.software import Kernels, Library, Software
from lbsim.profiles.tuning import Tuning
from lbsim.scenario.plan import Plan
from lbsim.uncertainty.residuals import Residuals

CLASSES: dict[str, type[Profile]] = {
    profile.kind: profile
    for profile in (Accelerator, Calibration, Cluster, Kernels, Library, Link, Recipe, Residuals, Software, Tuning)
}
FILES = [(kind, name, file) for kind in catalog.profile_kinds() for name, file in SHIPPED.files(kind).items()]
EVERY_FILE = pytest.mark.parametrize(("kind", "name", "file"), FILES, ids=[f"{k}/{n}" for k, n, _ in FILES])

LINK = """
source = "a test"
latency = "2 us"
bandwidth = "100 Gb/s"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "links").mkdir()
    return tmp_path


def load_link(folder, text, name="mine"):
    (folder / "links" / f"{name}.toml").write_text(text)
    return Link.load(name, Folders(user=(folder,)))


def refusal(folder, text):
    """Return the one line that refuses a link of *text*."""
    with pytest.raises(InputError) as refused:
        load_link(folder, text)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_each_folder_holds_one_kind_of_profile():
    assert set(catalog.profile_kinds()) == set(CLASSES)


@EVERY_FILE
def test_a_shipped_profile_is_valid_and_its_file_name_is_its_name(kind, name, file):
    assert CLASSES[kind].load(name).name == name
    assert "name" not in read_toml(file)


@EVERY_FILE
def test_a_shipped_profile_states_its_own_source(kind, name, file):
    own = read_toml(file)
    assert own["source"].strip(), f"{kind}/{name} inherits its source"
    assert not re.search(
        r"\b(HW|AB|ARB|BUS|HKB|LAM|DLP|PAD|MLP|TF)-\d{3}\b", own["source"] + own.get("calibrated", "")
    ), "cite what the row cites"


@EVERY_FILE
def test_a_shipped_profile_is_read_back_from_what_it_writes(kind, name, file):  # noqa: ARG001
    profile = CLASSES[kind].load(name)
    assert type(profile).model_validate_json(profile.model_dump_json(), context=SHIPPED) == profile


@pytest.mark.parametrize("name", SHIPPED.files("software"))
def test_a_softwares_defaults_are_fields_of_a_plan_that_can_run(name):
    Plan.model_validate({"gpus": 8} | Software.load(name).defaults, context=SHIPPED)


def test_a_profile_inherits_the_fields_that_it_does_not_set(folder):
    link = load_link(folder, 'extends = "ib-edr"\nsource = "a test"\nefficiency = 0.5\n')
    parent = Link.load("ib-edr")
    assert (link.name, link.efficiency) == ("mine", 0.5)
    assert (link.latency, link.bandwidth) == (parent.latency, parent.bandwidth)


def test_a_table_inside_a_profile_is_merged_field_by_field(folder):
    (folder / "accelerators").mkdir()
    text = 'extends = "p40"\nsource = "a test"\npeak = { fp32 = "10 TFLOP/s" }\n'
    (folder / "accelerators" / "slow-p40.toml").write_text(text)
    slow = Accelerator.load("slow-p40", Folders(user=(folder,)))
    assert slow.peak.fp32 == 10e12
    assert slow.peak.fp16 == Accelerator.load("p40").peak.fp16


def test_a_users_profile_hides_the_shipped_one_of_the_same_name(folder):
    assert load_link(folder, LINK, name="ib-fdr").bandwidth == 12.5e9


def test_a_profile_is_found_by_its_path_too(folder):
    load_link(folder, LINK)
    assert Link.load(folder / "links" / "mine.toml").bandwidth == 12.5e9


def test_a_quantity_without_a_unit_is_refused_with_an_example(folder):
    line = refusal(folder, LINK.replace('"100 Gb/s"', "12.5e9"))
    assert line == "links/mine: bandwidth: 12500000000.0 has no unit; write it as e.g. '25 GB/s'"


def test_a_unit_of_another_dimension_is_refused_with_the_valid_units(folder):
    line = refusal(folder, LINK.replace("100 Gb/s", "100 GB"))
    assert line.startswith("links/mine: bandwidth: 'GB' is not a unit of bandwidth; there are: B/s, ")


def test_a_missing_source_is_refused(folder):
    assert refusal(folder, LINK.replace('source = "a test"', "")) == "links/mine: 'source' is missing"


def test_an_empty_source_is_refused(folder):
    assert refusal(folder, LINK.replace("a test", " ")).startswith("links/mine: source: ")


@pytest.mark.parametrize("latency", ['"-2 us"', "-2e-6"])
def test_a_negative_time_is_refused(folder, latency):
    assert refusal(folder, LINK.replace('"2 us"', latency)).startswith("links/mine: latency: ")


@pytest.mark.parametrize("rate", ['"nan GB/s"', "nan", "inf", '"1e999 GB/s"', '"0 GB/s"', '"-1 GB/s"'])
def test_a_bandwidth_that_is_not_a_positive_number_is_refused(folder, rate):
    assert refusal(folder, LINK.replace('"100 Gb/s"', rate)).startswith("links/mine: bandwidth: ")


@pytest.mark.parametrize("share", ["0", "1.01", "-0.5", "nan", "inf", '"half"'])
def test_an_efficiency_outside_0_to_1_is_refused(folder, share):
    assert refusal(folder, f"{LINK}efficiency = {share}\n").startswith("links/mine: efficiency: ")


def test_an_unknown_field_is_refused_by_name(folder):
    assert "no such field 'bandwith'" in refusal(folder, f'{LINK}bandwith = "1 GB/s"\n')


def test_invalid_toml_is_refused_with_its_line(folder):
    assert "line 2" in refusal(folder, 'source = "a test"\nlatency = 2 us\n')


def test_a_profile_that_extends_itself_through_another_is_refused(folder):
    (folder / "links" / "other.toml").write_text('extends = "mine"\n')
    assert refusal(folder, 'extends = "other"\n').endswith("extends itself through mine -> other -> mine")


def test_a_missing_parent_is_refused_with_the_nearest_name(folder):
    line = refusal(folder, 'extends = "ib-edp"\nsource = "a test"\n')
    assert line.startswith("no 'ib-edp' in hardware_profiles/links; did you mean 'ib-edr'? there are: aries, ")


def test_a_parent_that_is_not_a_name_is_refused(folder):
    assert refusal(folder, "extends = 3\n") == "extends: 3 is not the name of a profile in hardware_profiles/links"


def test_a_missing_file_is_refused(folder):
    with pytest.raises(InputError, match=r"^no profile file '.*absent\.toml'$"):
        Link.load(folder / "absent.toml")


@pytest.mark.parametrize("kind", CALIBRATED_KINDS)
def test_every_shipped_profile_states_its_calibration_or_the_reason_for_none(kind):
    for name in SHIPPED.files(kind):
        told = calibrated_text(CLASSES[kind].load(name))
        assert "not calibrated" not in told, f"{kind}/{name}"
        assert "nothing" in told or re.search(r"\d ?(%|GB/s|samples/s)", told), f"{kind}/{name}: no error"


def test_the_list_shows_calibrations_with_its_option(capsys):
    assert main(["profiles", "list", "accelerators", "--calibrated"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "xeon-8160 nothing: no rate of one socket is published" in told
    assert re.search(r"p100-sxm2 speed by \S+ on published single-GPU rates; mean error [\d.]+% on the \d+ rows", told)


def test_the_list_refuses_calibrations_of_kinds_without_them(capsys):
    assert main(["profiles", "list", "models", "--calibrated"]) == 2
    assert "the kinds of profile that can be calibrated" in capsys.readouterr().err
