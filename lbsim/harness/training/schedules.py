"""Learning-rate schedules of the record systems, as functions of the epoch, a float.

Each schedule is defined for the number of epochs that its authors trained, and scaled to others in proportion.
"""

__all__ = ["gradual_warm_up", "linear_scaling", "polynomial_decay", "slow_start"]


def linear_scaling(batch: int, rate_at_256: float = 0.1) -> float:
    """Return the learning rate in proportion to *batch*: Goyal et al., arXiv:1706.02677, section 2.1.

    >>> linear_scaling(8192)
    3.2
    """
    return rate_at_256 * batch / 256


def gradual_warm_up(epoch: float, rate: float, *, epochs: float, batch: int, warm_up: float = 5) -> float:
    """Return Goyal et al.'s learning rate: a ramp from that for 256 samples, a tenth at 30, 60 and 80 of 90 epochs.

    *rate* is the result of linear scaling: arXiv:1706.02677, sections 2.2 and 5.1. Their reference batch has 256
    samples (8 GPUs of 32), so for batches up to 256 there is no ramp, for any *warm_up*.

    >>> [round(gradual_warm_up(e, 3.2, epochs=90, batch=8192), 6) for e in (0, 2.5, 5, 30, 60, 89)]
    [0.1, 1.65, 3.2, 0.32, 0.032, 0.0032]
    """
    if epoch < warm_up:
        start = rate * min(1.0, 256 / batch)
        return start + (rate - start) * epoch / warm_up
    passed = sum(epoch >= milestone / 90 * epochs for milestone in (30, 60, 80))
    return float(rate * 0.1**passed)


def polynomial_decay(epoch: float, rate: float, *, epochs: float, warm_up: float = 2, power: float = 2) -> float:
    """Return You et al.'s learning rate for LARS: a ramp from zero, then a polynomial to zero.

    arXiv:1708.03888, section 5 and table 3: power 2, a warm-up of 2 to 13 epochs. The paper does not state whether the
    ramp counts from 0 or 1. NVIDIA's Caffe, on which its authors trained, counts from 0 (``GetLearningRate`` in
    ``sgd_solver.cpp``: iteration / ``rampup_interval``), so that the first step only sets the velocity to zero; here
    too.

    >>> [polynomial_decay(e, 8.0, epochs=100, warm_up=2) for e in (0, 1, 50, 100)]
    [0.0, 4.0, 2.0, 0.0]
    """
    if epoch < warm_up:
        return rate * epoch / warm_up
    return float(rate * max(0.0, 1 - epoch / epochs) ** power)


def slow_start(epoch: float, rate: float, *, epochs: float) -> float:
    """Return Akiba et al.'s learning rate: *rate* times 0.5, 0.075, 0.01 and 0.001 for 40, 30, 15 and 5 of 90 epochs.

    arXiv:1711.04325, appendix A.2.

    >>> [slow_start(e, 1.0, epochs=90) for e in (0, 39.9, 40, 70, 85)]
    [0.5, 0.5, 0.075, 0.01, 0.001]
    """
    at_90 = epoch / epochs * 90
    for end, share in ((40, 0.5), (70, 0.075), (85, 0.01)):
        if at_90 < end:
            return share * rate
    return 0.001 * rate
