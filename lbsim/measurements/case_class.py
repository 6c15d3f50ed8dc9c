"""Classes of cases: what kind of prediction a published number tests."""

from enum import StrEnum

__all__ = ["SCALING", "SINGLE_GPU", "CaseClass"]


class CaseClass(StrEnum):
    """Class of a case, by which errors are averaged; the values are those of ``class`` in a case file.

    The record systems, "seed" in the files, are those that lbsim is to reproduce; nothing is fitted to them but the
    times of `RECORD_TIME_FITTED`.
    """

    RECORD_EFFICIENCY = "seed efficiency"
    RECORD_TIME_ANCHORED = "seed time, anchored"
    RECORD_TIME_OTHER_BATCH = "seed time, anchored at another batch"
    RECORD_TIME_FITTED = "seed time, fitted"
    RECORD_TIME_NOT_ANCHORED = "seed time, not anchored"
    SEVERAL_GPUS_MIXED = "several GPUs, mixed, not anchored"
    SCALING_FP32_IN_NODE = "scaling, fp32 in a node"
    SCALING_FP32_ACROSS_NODES = "scaling, fp32 across nodes"
    SCALING_MIXED_IN_NODE = "scaling, mixed in a node"
    SCALING_MIXED_ACROSS_NODES = "scaling, mixed across nodes"
    SINGLE_GPU_FP32 = "single GPU, fp32"
    SINGLE_GPU_MIXED = "single GPU, mixed"
    SINGLE_GPU_TF32 = "single GPU, tf32"
    FUSION_POLICIES = "fusion policies"
    ALL_REDUCE = "all-reduce"


SCALING = frozenset(
    {
        CaseClass.SCALING_FP32_IN_NODE,
        CaseClass.SCALING_FP32_ACROSS_NODES,
        CaseClass.SCALING_MIXED_IN_NODE,
        CaseClass.SCALING_MIXED_ACROSS_NODES,
    }
)
"""Scaling from a source's own rate of one GPU to several."""
SINGLE_GPU = frozenset({CaseClass.SINGLE_GPU_FP32, CaseClass.SINGLE_GPU_MIXED, CaseClass.SINGLE_GPU_TF32})
"""Rates and times of one GPU."""
