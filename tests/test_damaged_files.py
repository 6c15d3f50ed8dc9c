"""Damaged traces and profiles: one line that says what is wrong, whatever was damaged."""

import contextlib
import random
import time
from pathlib import Path

import pytest

from lbsim.calibration.observations import read_observations
from lbsim.cli.profile_sheet import check
from lbsim.errors import InputError
from lbsim.measurements.measurement import read
from lbsim.profiles import catalog
from lbsim.profiles.catalog import Folders
from tests.mutations import mutated

CHECKOUT = Path(__file__).parents[1]
TRACES = sorted(
    file
    for folder in (CHECKOUT / "traces").iterdir()
    if folder.is_dir() and folder.name != "published"
    for file in folder.iterdir()
    if file.suffix in {".json", ".txt", ".csv"}
)
PROFILES = sorted(catalog.SHIPPED_PROFILES.rglob("*.toml"))
CASES = sorted(catalog.PUBLISHED_CASES.glob("*.toml"))
LONGEST = 2.0
"""CPU seconds for one damaged file, whatever else the machine does; an intact one takes a hundredth of that."""


def _excerpt(file: Path) -> str:
    """Keep large files small, so that damage strikes what is read and not one sample of thousands."""
    text = file.read_text()
    return text if len(text) < 30_000 else text[:12_000] + text[-3_000:] if file.suffix != ".json" else text


def _damage(count: int, seed: int, folder: Path) -> None:
    chance = random.Random(seed)
    whole = {file: _excerpt(file) for file in (*TRACES, *PROFILES, *CASES)}
    for number in range(count):
        original = chance.choice((TRACES, TRACES, PROFILES, CASES)[number % 4])
        kind = original.parent.name
        target = folder / kind / f"damaged{original.suffix}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(mutated(whole[original], chance))
        start = time.process_time()
        with contextlib.suppress(InputError):
            if original in TRACES:
                read(target)
                read_observations([target], {"plan": {"gpus": 2}}, {"cluster": "epyc-loopback"}, Folders())
            elif original in CASES:
                read_observations([target], {}, {}, Folders())
            else:
                check(target)
        assert time.process_time() - start < LONGEST, f"{number} of seed {seed}, {original}"


def test_three_hundred_damaged_files_are_refused_in_one_line(tmp_path):
    _damage(300, 1, tmp_path)


@pytest.mark.slow
def test_ten_thousand_damaged_files_are_refused_in_one_line(tmp_path):
    _damage(10_000, 2, tmp_path)
