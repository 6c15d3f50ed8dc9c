"""Each optimizer against its formula, written out here from the paper, and against others' code."""

import numpy as np
import pytest
import torch

from lbsim.harness.optimizers.lars import LARS, lars
from lbsim.harness.optimizers.momentum_sgd import MomentumSGD, momentum_sgd
from lbsim.harness.optimizers.rmsprop_to_sgd import RMSpropToSGD, rmsprop_share, rmsprop_to_sgd, sgd_share
from tests.benchmarks.lars import measured, ratio

SHAPES = [(4, 3, 3, 3), (7, 5), (7,), (1, 1)]
STEPS = 20


def random(seed):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in SHAPES]


def gradients():
    return [random(100 + step) for step in range(STEPS)]


def rates():
    return [0.1 + 0.02 * step for step in range(STEPS)]


def you(weights, *, decay=0.01, trust=0.02, momentum=0.9):
    """Algorithm 1 of arXiv:1708.03888 in numpy."""
    weights, velocities = [w.copy() for w in weights], [np.zeros_like(w) for w in weights]
    for rate, step in zip(rates(), gradients(), strict=True):
        for w, g, v in zip(weights, step, velocities, strict=True):
            norm, steepness = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
            if w.ndim > 1:
                v[:] = momentum * v + rate * trust * norm / (steepness + decay * norm) * (g + decay * w)
            else:
                v[:] = momentum * v + rate * g
            w[:] = w - v
    return weights


def goyal(weights, *, decay=0.01, momentum=0.9):
    """Equation 9 of arXiv:1706.02677, in numpy."""
    weights, velocities = [w.copy() for w in weights], [np.zeros_like(w) for w in weights]
    for rate, step in zip(rates(), gradients(), strict=True):
        for w, g, v in zip(weights, step, velocities, strict=True):
            v[:] = momentum * v + g + decay * w
            w[:] = w - rate * v
    return weights


def akiba(weights, shares):
    """Appendix A.1 of arXiv:1711.04325, in numpy, with its own constants."""
    weights = [w.copy() for w in weights]
    moments, changes = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for rate, (sgd, rmsprop), step in zip(rates(), shares, gradients(), strict=True):
        for w, g, m, d in zip(weights, step, moments, changes, strict=True):
            m[:] = 0.99 * m + 0.01 * g**2
            d[:] = 0.9 * d - (sgd + rmsprop / (np.sqrt(m) + 1e-8)) * g
            w[:] = w + rate * d
    return weights


def run(optimizer, parameters, set_group=lambda *_: None):
    for step, (rate, given) in enumerate(zip(rates(), gradients(), strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(rate, dtype=torch.float64) if step % 2 else rate
            set_group(group, step)
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def parameters(seed=0):
    return [torch.nn.Parameter(torch.from_numpy(array)) for array in random(seed)]


def lars_groups(weights, trust=0.02, decay=0.01):
    return [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": decay, "trust": trust},
        {"params": [w for w in weights if w.dim() <= 1], "weight_decay": 0.0, "trust": 0.0},
    ]


def agree(found, expected, tolerance=1e-12):
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


def by_hand(function, states, choose, weights):
    """Apply a pure *function* step by step."""
    weights = [torch.from_numpy(w) for w in weights]
    kept = [[torch.zeros_like(w) for _ in range(states)] for w in weights]
    for step, (rate, given) in enumerate(zip(rates(), gradients(), strict=True)):
        for index, gradient in enumerate(given):
            w = weights[index]
            weights[index], *kept[index] = function(
                w, torch.from_numpy(gradient), *kept[index], rate=rate, **choose(w, step)
            )
    return [w.numpy() for w in weights]


def test_lars_is_algorithm_1_of_you_et_al():
    def chosen(w, _):
        matrix = w.dim() > 1
        return {"trust": 0.02 * matrix, "momentum": 0.9, "decay": 0.01 * matrix}

    agree(by_hand(lars, 1, chosen, random(0)), you(random(0)))
    weights = parameters()
    agree(run(LARS(lars_groups(weights), lr=0.1), weights), you(random(0)))


def test_momentum_sgd_is_equation_9_of_goyal_et_al():
    agree(by_hand(momentum_sgd, 1, lambda *_: {"momentum": 0.9, "decay": 0.01}, random(0)), goyal(random(0)))
    weights = parameters()
    agree(run(MomentumSGD(weights, lr=0.1, weight_decay=0.01), weights), goyal(random(0)))


def test_rmsprop_to_sgd_is_appendix_a_of_akiba_et_al():
    shares = [(sgd_share(step), rmsprop_share(sgd_share(step), rates()[step])) for step in range(STEPS)]
    named = [{"share_of_sgd": sgd, "share_of_rmsprop": rmsprop} for sgd, rmsprop in shares]
    agree(by_hand(rmsprop_to_sgd, 2, lambda _, step: named[step], random(0)), akiba(random(0), shares))
    weights = parameters()
    found = run(RMSpropToSGD(weights, lr=0.1), weights, lambda group, step: group.update(named[step]))
    agree(found, akiba(random(0), shares))


def test_the_transition_meets_itself_at_its_centre_and_ends_at_one():
    # appendix A.1: 1/2 at the 10th epoch, 1 half a period of 5 later, smooth where the parts meet
    assert sgd_share(10 - 1e-12) == pytest.approx(0.5)
    assert sgd_share(12.5) == sgd_share(90) == 1
    slopes = [(sgd_share(10 + d) - sgd_share(10)) / d for d in (-1e-6, 1e-6)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-5)
    assert 0 < sgd_share(0) < 0.01


def test_without_rmsprop_it_is_momentum_sgd_and_without_sgd_it_is_torchs_rmsprop():
    weights, others = parameters(), parameters()
    agree(run(RMSpropToSGD(weights, lr=0.1), weights), run(torch.optim.SGD(others, lr=0.1, momentum=0.9), others))
    weights, others = parameters(), parameters()
    ours = RMSpropToSGD(weights, lr=0.1, share_of_sgd=0.0, share_of_rmsprop=1.0)
    agree(run(ours, weights), run(torch.optim.RMSprop(others, lr=0.1, momentum=0.9, alpha=0.99), others))


def test_momentum_sgd_is_torchs():
    weights, others = parameters(), parameters()
    theirs = torch.optim.SGD(others, lr=0.1, momentum=0.9, weight_decay=0.01)
    agree(run(MomentumSGD(weights, lr=0.1, weight_decay=0.01), weights), run(theirs, others))


def test_lars_is_that_of_pytorch_optimizer_over_100_steps():
    """At a constant rate: pytorch-optimizer has the rate outside the velocity, the paper inside."""
    others = pytest.importorskip("pytorch_optimizer", reason="pip install 'lbsim[harness-test]'")
    generator = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    mine = LARS(lars_groups(ours), lr=0.5)
    published = others.LARS(theirs, lr=0.5, weight_decay=0.01, momentum=0.9, trust_coefficient=0.02)
    for _ in range(100):
        for weight, other in zip(ours, theirs, strict=True):
            weight.grad = torch.randn(weight.shape, generator=generator)
            other.grad = weight.grad.clone()
        mine.step()
        published.step()
    for weight, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("zero", ["weight", "gradient"])
def test_lars_scales_nothing_where_a_norm_is_zero(zero):
    weight = torch.nn.Parameter(torch.zeros(2, 2) if zero == "weight" else torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2) if zero == "gradient" else torch.ones(2, 2)
    expected = weight.detach() - 0.5 * (weight.grad + 0.25 * weight.detach())
    LARS([weight], lr=0.5, weight_decay=0.25).step()
    assert torch.equal(weight, expected)


@pytest.mark.parametrize("kind", [LARS, MomentumSGD, RMSpropToSGD])
def test_a_step_reads_nothing_back_to_the_host(kind):
    """So it can be captured in a CUDA graph: on the meta device there is nothing to read, and reading raises."""
    weights = [torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in SHAPES]
    for weight in weights:
        weight.grad = torch.empty_like(weight)
    optimizer = kind(weights, lr=torch.empty((), device="meta"), weight_decay=0.01)
    with pytest.raises(RuntimeError):
        bool(torch.empty((), device="meta") > 0)  # what reading would do
    optimizer.step()
    optimizer.step()


@pytest.mark.parametrize("kind", [LARS, MomentumSGD, RMSpropToSGD])
def test_an_optimizer_goes_on_from_its_state(kind):
    whole, parts = parameters(), parameters()
    run(one := kind(whole, lr=0.1), whole)
    run(one, whole)
    run(before := kind(parts, lr=0.1), parts)
    after = kind(parts, lr=0.1)
    after.load_state_dict(before.state_dict())
    run(after, parts)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


@pytest.mark.slow
def test_lars_takes_at_most_half_as_long_again_as_torchs_sgd_and_less_than_a_loop():
    times = measured(torch.device("cpu"))
    assert ratio(times) <= 1.5
    assert ratio(times, other="LARS, a tensor at a time") < 1


def test_biases_decay_under_lars_if_they_are_asked_to():
    """Jia et al., table 7, compare runs that decay batch norm with runs that do not: v = rate (g + decay w)."""
    bias = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    bias.grad = torch.tensor([1.0], dtype=torch.float64)
    LARS([{"params": [bias], "weight_decay": 0.25, "trust": 0.0}], lr=0.5).step()
    assert bias.item() == 2.0 - 0.5 * (1.0 + 0.25 * 2.0)
