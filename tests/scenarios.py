"""Scenarios that hypothesis generates: any shape of cluster and any plan that can run."""

from hypothesis import strategies as st

from lbsim import Scenario, override
from lbsim.profiles.module_catalog import module_names

MODELS = ("resnet50", "vgg16", "alexnet-owt")
ALL_REDUCES = tuple(name for name in module_names("all_reduce") if name not in {"nvls", "nvls_tree"})
"""Algorithms for any hardware and library."""


@st.composite
def scenarios(draw):
    gpus_per_node = draw(st.sampled_from([1, 2, 4, 8]))
    nodes = draw(st.sampled_from([1, 2, 3, 16, 128]))
    scenario = Scenario.of(
        gpus=gpus_per_node * nodes,
        cluster=draw(st.sampled_from(["mn-1", "dgx-h100"])),
        model=draw(st.sampled_from(MODELS)),
        software=draw(st.sampled_from(["chainer-2017", "pytorch-nccl"])),
        batch_per_gpu=draw(st.sampled_from([1, 16, 32])),
        precision="fp32",
        all_reduce=draw(st.sampled_from(ALL_REDUCES)),
        fusion=draw(st.sampled_from(["one-buffer", "threshold", "ddp", "split", "horovod"])),
        fusion_split=(10,),
        fusion_threshold=draw(st.floats(min_value=1e6, max_value=1e8)),
        overlap=draw(st.booleans()),
    )
    return override(
        scenario,
        {
            "cluster.gpus_per_node": gpus_per_node,
            "cluster.nics": draw(st.sampled_from([1, 2, 8])),
            "cluster.inter_node.bandwidth": draw(st.floats(min_value=1e8, max_value=1e11)),
            "cluster.inter_node.latency": draw(st.floats(min_value=0, max_value=1e-4)),
            "cluster.intra_node.bandwidth": draw(st.floats(min_value=1e9, max_value=1e12)),
            "software.straggler_spread": draw(st.sampled_from([0.0, 0.02, 0.1])),
            "software.overlap_slowdown": draw(st.sampled_from([0.0, 0.2])),
            "software.library.streams": draw(st.sampled_from([1, 1, 2])),
        },
    )
