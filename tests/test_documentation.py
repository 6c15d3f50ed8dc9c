"""Links between documents, and the commands that documents show."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lbsim.cli.app import main

CHECKOUT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in CHECKOUT.rglob("*.md")
    if not any(part.startswith((".", "build", "dist")) for part in page.relative_to(CHECKOUT).parts)
)
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")
DOCUMENTED = ("README.md", "docs/commands.md")
NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.classifier = torch.nn.Linear(8, 10)

    def forward(self, images):
        return self.classifier(self.convolution(images).relu().mean((2, 3)))


class Digits(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
"""
TRAINED = (
    "python -m lbsim.harness train --model mlp --data digits --epochs 8 --optimizer sgd --schedule constant "
    "--rate 0.03 --noise-scale-every 1 --output run3"
)
"""As in docs/harness.md: a run for ``lbsim plan --noise-scale``."""
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


def names(pages):
    return [str(page.relative_to(CHECKOUT)) for page in pages]


def anchors(page):
    """Return the anchors that GitHub gives the headings of *page*."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    written = set(re.findall(r'<a id="([^"]+)">', text))
    return written | {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_relative_links_resolve(page):
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_links_are_found():
    assert {"README.md", "docs/commands.md", "reports/accuracy/README.md"} <= set(names(PAGES))
    assert len(LINK.findall((CHECKOUT / "README.md").read_text())) > 10


def test_every_module_that_the_changelog_says_moved_is_there():
    table = (CHECKOUT / "CHANGELOG.md").read_text().partition("| old | new |")[2].partition("\n\n")[0]
    new = [row.split(" | ")[1] for row in table.splitlines() if " | " in row]
    moved = re.findall(r"`lbsim\.([\w.]+?)(?:\.\*)?`", " ".join(new))
    assert len(moved) > 50
    for name in moved:
        path = CHECKOUT / "lbsim" / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_the_api_reference_is_up_to_date():
    pytest.importorskip("griffe")
    command = [sys.executable, str(CHECKOUT / "docs" / "build_api.py"), "--check"]
    checked = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def shell_lines(page):
    return "\n".join(BLOCK.findall((CHECKOUT / page).read_text())).splitlines()


def commands(page):
    """Return the ``lbsim`` commands in the shell blocks of *page*, as lists of arguments."""
    parts = [part for line in shell_lines(page) for part in re.split(r" && | > ", line)]
    return [shlex.split(part, comments=True) for part in parts if part.startswith("lbsim ")]


SHOWN = [
    pytest.param(arguments[1:], id=f"{page}: {' '.join(arguments[1:])}")
    for page in DOCUMENTED
    for arguments in commands(page)
]


@pytest.mark.parametrize("arguments", SHOWN)
def test_every_command_has_options_that_the_program_takes(arguments, capsys):
    """Parses alone: an unknown command or option is an error although --help is given."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    assert main([*arguments[:end], "--help"]) == 0, capsys.readouterr().err


def test_an_unknown_option_is_an_error_although_help_is_given(capsys):
    assert main(["predict", "--gpu", "8", "--help"]) == 2
    assert "--gpu" in capsys.readouterr().err


NOT_RUN = {
    "lbsim testbed": "needs root and network namespaces",
    "lbsim validate --leave-out": "minutes; tests/evaluation runs it",
    "lbsim validate --targets": "minutes; tests/evaluation runs it",
}


@pytest.mark.slow
@pytest.mark.parametrize("page", DOCUMENTED)
def test_every_command_runs(page, tmp_path):
    """In the order in which they are shown, in a folder that has the files which they take as given."""
    pytest.importorskip("torch")
    (tmp_path / "traces").symlink_to(CHECKOUT / "traces")
    shutil.copy(CHECKOUT / "traces/nccl-tests/polaris-32-a100.txt", tmp_path / "nccl.txt")
    (tmp_path / "my_models.py").write_text(NET)
    run(TRAINED, tmp_path)
    for line in shell_lines(page):
        if line.startswith(("lbsim ", "mkdir ")) and not line.startswith(tuple(NOT_RUN)):
            run(line, tmp_path)


def run(line, folder):
    places = [str(CHECKOUT), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "HOME": str(folder), "PATH": path}
    done = subprocess.run(
        ["bash", "-ec", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
