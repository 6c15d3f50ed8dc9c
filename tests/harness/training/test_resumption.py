"""Resumption from checkpoints whose checksum is right and whose content is not: the one before is used."""

import math

import pytest
import torch

from lbsim.errors import InputError
from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.training import checkpoint
from lbsim.harness.training.options import TrainOptions
from lbsim.harness.training.train import train

NAME = "checkpoint-{:09d}.pt"
GROUP = ProcessGroup(0, 1, torch.device("cpu"))
OPTIONS = {"model": "cnn", "data": "digits", "rate": 5.0, "checkpoint_every": 2, "precision": "mixed"}


def run(folder, steps):
    said: list[str] = []
    result = train(TrainOptions(output=folder, steps=steps, **OPTIONS), GROUP, said.append)
    return result.steps, said


def without(key):
    return lambda state: state.pop(key)


def put(value, *path):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


WRONG = {
    "no step": without("step"),
    "no recipe": without("recipe"),
    "no weights": without("model"),
    "no averages": without("epoch"),
    "a huge step": put(10**12, "step"),
    "a step that is text": put("4", "step"),
    "a step that is true": put(True, "step"),
    "a recipe that is a list": put([], "recipe"),
    "a weight of another shape": put(torch.zeros(3), "model", "fc.weight"),
    "a weight that is a number": put(1.0, "masters", "weights", "fc.weight"),
    "an unknown weight": put(torch.zeros(3), "model", "fc9.weight"),
    "a momentum of another shape": put(torch.zeros(3), "optimizer", "state", 0, "velocity"),
    "momentum of a parameter that is not there": put({"velocity": torch.zeros(3)}, "optimizer", "state", 99),
    "no parameter groups": put([], "optimizer", "param_groups"),
    "a momentum coefficient that is text": put("0.9", "optimizer", "param_groups", 0, "momentum"),
    "a loss scale of nan": put(math.nan, "masters", "scale", "scale"),
    "no loss scale": put(None, "masters", "scale"),
    "one average": put([[0.0], 4], "epoch"),
    "an engine that is a list": put([], "engine"),
    "ready times of another model": put([[0.1]], "engine", "warm_up"),
    "a list": None,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, 4)[0] == 4
    return {step: (folder / NAME.format(step)).read_bytes() for step in (2, 4)}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_content_that_is_not_a_checkpoint_is_reported_and_the_one_before_is_used(change, whole, tmp_path):
    state = checkpoint.deserialize(whole[4])
    if change is not None:
        change(state)
    (tmp_path / NAME.format(2)).write_bytes(whole[2])
    (tmp_path / NAME.format(4)).write_bytes(checkpoint.serialize(state if change else [1]))  # type: ignore[arg-type]
    steps, said = run(tmp_path, 5)
    assert steps == 5
    assert said[0].startswith(str(tmp_path / NAME.format(4)))
    assert said[0].endswith("; trying the one before")
    assert said[1] == "resuming after step 2"
    assert len(said[0]) <= 500 + len(str(tmp_path))


def test_a_step_beyond_the_run_is_refused_under_its_name_too(whole, tmp_path):
    state = checkpoint.deserialize(whole[4])
    state["step"] = 10**8
    (tmp_path / NAME.format(10**8)).write_bytes(checkpoint.serialize(state))
    with pytest.raises(InputError, match="all checkpoints are damaged"):
        run(tmp_path, 5)


def test_an_intact_checkpoint_is_resumed(whole, tmp_path):
    for step, content in whole.items():
        (tmp_path / NAME.format(step)).write_bytes(content)
    assert run(tmp_path, 5)[1][0] == "resuming after step 4"
