"""Why a target is missed, where it is: what the sources do not say, and which physics is missing."""

from lbsim.evaluation.targets.result import (
    ALL_REDUCES,
    ANCHORED,
    EFFICIENCIES,
    HKB,
    INTERVALS,
    NOT_ANCHORED,
    OWN_TRACES,
    SCALING,
    SINGLE_GPU,
    TESTBED,
    Line,
)

_REASONS = {
    EFFICIENCIES: "the spread of the ranks and the cost of real input differ twentyfold between systems, and no source "
    "states its own; Cho et al. do not say what their 95 % is of",
    ANCHORED: "a batch of 32 a GPU took software of 2017 longer than a rate at 64 or more lets expect; the AlexNet "
    "systems lose 65 to 100 ms a step that no batch changes and no source explains",
    NOT_ANCHORED: "software of 2017, of most of which no rate of one GPU is published, was 20 to 30 % slower at 32 "
    "samples a GPU than its kernels explain; which machines some sources had is not sure",
    HKB: "BERT loses a constant time a step that is the same on every network; its rates of one GPU probably leave out "
    "the update, and 4 and 8 GPUs alone cannot tell that from slower links",
    SCALING: "what input and framework cost several GPUs differs by source, and no source's rates tell another's",
    SINGLE_GPU: "frameworks differ by what they fuse and how they lay tensors out, more in mixed precision than in "
    "fp32, and no source states it; AlexNet and VGG are furthest from what the other networks tell",
    ALL_REDUCES: "other numbers of ranks cross other parts of the machine, and libraries change protocol with the "
    "message's size, which the measurements of one machine do not tell apart",
    OWN_TRACES: "AlexNet alone has local response normalization, a fifth of its step on a processor, so that no other "
    "model tells what it costs; at a batch of 1 the gradients of full layers take longer than their bytes do",
    TESTBED: "two processors do the work of all hosts: 16 of them, and small messages, wait for processors and not "
    "for links, whose time alone is modelled",
}
_TOO_NARROW = "few systems of uneven size, so that the others' residuals say little of the one that is left out"
_TOO_WIDE = "wider than need be: a few outliers among few rows set the width"


def reason(line: Line) -> str:
    """Return why *line* is missed; nothing if it is not."""
    if line.reached is not False:
        return ""
    if line.target != INTERVALS or line.share is None or line.share_aim is None:
        return _REASONS[line.target]
    return _TOO_WIDE if line.share > line.share_aim[1] else _TOO_NARROW
