"""Batch norm without moving averages: the last batch's statistics, averaged over real ranks."""

import torch
from torch import distributed, multiprocessing, nn
from torch.multiprocessing.spawn import spawn

from lbsim.harness.communication.process_group import ProcessGroup
from lbsim.harness.training import batch_norm


def test_the_statistics_are_those_of_the_last_batch_alone():
    norm = nn.BatchNorm1d(3)
    batch_norm.keep_last_batch(norm)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        last = torch.randn(7, 3, generator=generator) * 4 + 1
        norm(last)
    torch.testing.assert_close(norm.running_mean, last.mean(0))
    torch.testing.assert_close(norm.running_var, last.var(0))


def averaged(rank, place, results):
    distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    norms = [nn.BatchNorm1d(2), nn.BatchNorm1d(2)]
    for index, norm in enumerate(norms):
        norm.load_state_dict(
            norm.state_dict()
            | {"running_mean": torch.full((2,), rank + index), "running_var": torch.full((2,), 3 * rank + index)}
        )
    model = nn.Sequential(norms[0], nn.Linear(2, 2), norms[1])
    batch_norm.average(model, ProcessGroup(rank, 2, torch.device("cpu")))
    results.put([norm.state_dict()[name].tolist() for norm in norms for name in ("running_mean", "running_var")])
    distributed.destroy_process_group()


def test_every_rank_validates_with_the_mean_over_the_ranks(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    spawn(averaged, args=(tmp_path / "meeting", results), nprocs=2)
    expected = [[0.5, 0.5], [1.5, 1.5], [1.5, 1.5], [2.5, 2.5]]
    assert [results.get(), results.get()] == [expected, expected]
