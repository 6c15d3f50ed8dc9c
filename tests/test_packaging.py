import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the folder of commands of a fresh environment that holds the wheel, and borrows its dependencies."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=True)
    commands = place / ("Scripts" if os.name == "nt" else "bin")
    run(commands / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=place)
    packages = run(commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place)
    (Path(packages.strip()) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return commands


def test_the_wheel_holds_every_profile_and_case_and_no_tests(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("hardware_profiles", "traces/published"):
        files = {f"lbsim/{file.relative_to(CHECKOUT).as_posix()}" for file in (CHECKOUT / folder).rglob("*.toml")}
        assert files
        assert files <= packed
    assert not [name for name in packed if name.startswith(("tests", "reports"))]


def test_the_installed_command_predicts_from_another_folder(installed, tmp_path):
    output = run(installed / "lbsim", "predict", "--gpus", 16, "--cluster", "mn-1", "--format", "json", cwd=tmp_path)
    assert json.loads(output)["throughput"] > 0
    place = run(installed / "python", "-c", "import lbsim; print(lbsim.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(installed.parent)


def test_the_installed_command_lists_and_validates_what_ships(installed, tmp_path):
    assert "mn-1" in run(installed / "lbsim", "profiles", "list", "clusters", cwd=tmp_path)
    assert "All: " in run(installed / "lbsim", "validate", "--only", "akiba", cwd=tmp_path)
