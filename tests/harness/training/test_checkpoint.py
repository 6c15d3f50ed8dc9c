"""Checkpoints: two are kept, and a damaged one is refused."""

import pytest
import torch

from lbsim.errors import InputError
from lbsim.harness.training import checkpoint


def written(folder, steps):
    for step in steps:
        checkpoint.save(folder, step, {"step": step, "weights": torch.full((3,), float(step))})


def test_the_last_two_are_kept_and_nothing_else(tmp_path):
    written(tmp_path, range(1, 6))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint-000000004.pt", "checkpoint-000000005.pt"]


@pytest.mark.parametrize("place", [0, 40, 100, -1])
def test_a_flipped_bit_is_noticed_and_the_one_before_used(place, tmp_path):
    written(tmp_path, [1, 2])
    file = tmp_path / "checkpoint-000000002.pt"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    said: list[str] = []
    state = checkpoint.load_newest(tmp_path, said.append)
    assert state is not None
    assert state["step"] == 1
    assert torch.equal(state["weights"], torch.ones(3))
    assert len(said) == 1
    assert str(file) in said[0]


@pytest.mark.parametrize("length", [0, 10, 200])
def test_a_shortened_file_is_noticed(length, tmp_path):
    written(tmp_path, [1])
    file = tmp_path / "checkpoint-000000001.pt"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InputError, match="all checkpoints are damaged"):
        checkpoint.load_newest(tmp_path, lambda _: None)


def test_what_a_kill_left_half_written_is_no_checkpoint(tmp_path):
    written(tmp_path, [1])
    (tmp_path / "checkpoint-000000002.pt.new").write_bytes(b"lbsim")
    state = checkpoint.load_newest(tmp_path, pytest.fail)
    assert state is not None
    assert state["step"] == 1


def test_a_link_by_the_name_of_an_earlier_temporary_file_is_not_followed(tmp_path):
    """Checkpoints were written to ``NAME.pt.new`` first, which another user of a shared folder can foresee."""
    kept = tmp_path / "kept"
    kept.write_bytes(b"as it was")
    (tmp_path / "checkpoint-000000001.pt.new").symlink_to(kept)
    written(tmp_path, [1])
    assert kept.read_bytes() == b"as it was"


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.load_newest(tmp_path, pytest.fail) is None
