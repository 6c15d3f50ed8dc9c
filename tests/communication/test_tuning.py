"""NCCL's tuning model: what it chooses where a release was observed, and the refusals of other hardware."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim import InputError, Scenario, override, predict
from lbsim.communication import tuning
from lbsim.communication.all_reduce import auto, hierarchical
from lbsim.communication.all_to_all import direct
from lbsim.communication.fabric import Fabric, closed_form
from lbsim.communication.operations import OPERATIONS
from lbsim.communication.selection import fastest_protocol
from lbsim.profiles.hardware import Cluster
from lbsim.profiles.software import Library
from lbsim.profiles.tuning import Tuning

MIB = 2.0**20


@cache
def fabric(cluster, gpus, library="nccl-2.28"):
    return Fabric.of(Cluster.load(cluster), Library.load(library), gpus)


def chosen(cluster, gpus, message, library="nccl-2.28", operation="all-reduce"):
    collective, over = fastest_protocol(message, OPERATIONS[operation].algorithm(), fabric(cluster, gpus, library))
    assert over.protocol is not None
    return collective.algorithm, over.protocol.name


OBSERVED = {
    "8 H200, 16 GiB": ("hgx-h200", 8, 16384 * MIB, "nccl-2.28", ("nvls", "Simple")),
    "5 H200": ("hgx-h200", 5, 16384 * MIB, "nccl-2.28", ("nvls", "Simple")),
    "4 H200": ("hgx-h200", 4, 16384 * MIB, "nccl-2.28", ("ring", "Simple")),
    "6 B200": ("hgx-b200", 6, 8192 * MIB, "nccl-2.28", ("nvls", "Simple")),
    "5 B200": ("hgx-b200", 5, 8192 * MIB, "nccl-2.28", ("ring", "Simple")),
    "8 H100, 1 MiB": ("dgx-h100", 8, MIB, "nccl-2.28", ("ring", "LL")),
    "8 A100, 1 GiB": ("dgx-a100", 8, 1024 * MIB, "nccl-2.28", ("ring", "Simple")),
}
"""Algorithms that NCCL reported, or that the dips of published tables show: reports/collectives/README.md."""


@pytest.mark.parametrize(("cluster", "gpus", "message", "library", "expected"), OBSERVED.values(), ids=OBSERVED)
def test_the_choice_is_what_nccl_was_observed_to_run(cluster, gpus, message, library, expected):
    assert chosen(cluster, gpus, message, library) == expected


def first_simple(cluster, gpus, library="nccl-2.28"):
    """Return the first power of two from 64 KiB at which an all-gather changes to Simple."""
    powers = range(16, 30)
    return next(2.0**p for p in powers if chosen(cluster, gpus, 2.0**p, library, "all-gather") == ("ring", "Simple"))


def test_a_later_release_changes_to_simple_later_on_blackwell():
    """NCCL 2.29 lowered LL128's bound there: the dip of the published tables moves from 8 to 16 MiB on 8 B200."""
    assert first_simple("hgx-b200", 8, "nccl-2.29") != first_simple("hgx-b200", 8, "nccl-2.28")


def test_estimates_have_the_constants_of_the_source():
    """tuning.cc: 6.6 us of base and 0.6 us for each of 14 steps with LL; 2 (n-1)/n S over min(141, 360 / 2) GB/s."""
    expected = tuning.estimates("all_reduce", MIB, fabric("dgx-h100", 8))
    assert expected["ring", "LL"] == pytest.approx(6.6e-6 + 14 * 0.6e-6 + 14 / 8 * MIB / 141e9)
    assert expected["nvls", "Simple"] == pytest.approx(26e-6 + MIB / (8 * 60e9 * 0.85))
    assert tuning.choose("all_reduce", MIB, fabric("dgx-h100", 8), "nvls") == ("nvls", "Simple")


@given(st.floats(0, 34), st.sampled_from(["dgx-a100", "dgx-h100", "hgx-b200"]), st.sampled_from([2, 5, 8, 16, 32]))
def test_auto_runs_the_lowest_estimate(power, cluster, gpus):
    over = fabric(cluster, gpus)
    expected = tuning.estimates("all_reduce", 2.0**power, over)
    collective = auto.all_reduce(2.0**power, over)
    assert expected[collective.algorithm, collective.protocol] == min(expected.values())


PEERS = [(16 * 1024, "LL"), (16 * 1024 + 1, "few channels"), (2**19, "few channels"), (2**20, "Simple")]


@pytest.mark.parametrize(("peer", "protocol"), PEERS)
def test_point_to_point_messages_change_protocol_with_the_bytes_per_peer(peer, protocol):
    """NCCL_P2P_LL_THRESHOLD is 16 KiB."""
    _, over = fastest_protocol(8.0 * peer, direct.all_to_all, fabric("dgx-h100", 8))
    assert over.protocol is not None
    assert over.protocol.name == protocol


def test_an_algorithm_outside_the_model_uses_the_fastest_protocol_of_rings():
    over = fabric("dgx-h100", 16)
    seconds = closed_form(*fastest_protocol(MIB, hierarchical.all_reduce, over))
    variants = [over.by("ring", name) for name in over.protocols("ring")]
    assert seconds == min(closed_form(hierarchical.all_reduce(MIB, variant), variant) for variant in variants)


def test_a_variant_is_built_once():
    over = fabric("dgx-h100", 8)
    assert over.by("ring", "LL") is over.by("ring", "LL")


def test_ll128_needs_nvlink():
    pcie = override(Scenario.of(gpus=8, cluster="dgx-h100"), {"cluster.intra_node": "pcie-4"}).cluster
    assert "LL128" not in Fabric.of(pcie, Library.load("nccl-2.28"), 8).protocols("ring")


REFUSALS = {
    "no costs of the chip": ("dgx-1-v100", "auto", "no 'GV100'; there are: GA100, GH100, GB; use another --library"),
    "no costs of the chip for a named algorithm": ("dgx-1-v100", "ring", "no 'GV100'; there are: GA100, GH100, GB"),
    "switches that do not reduce": ("dgx-a100", "nvls", "nvls needs NVSwitches that reduce.* GH100 is the first chip"),
}


@pytest.mark.parametrize(("cluster", "all_reduce", "message"), REFUSALS.values(), ids=REFUSALS)
def test_hardware_without_costs_or_switches_is_refused(cluster, all_reduce, message):
    scenario = Scenario.of(gpus=8, cluster=cluster, all_reduce=all_reduce)
    with pytest.raises(InputError, match=message):
        predict(override(scenario, {"software.library": "nccl-2.28"}))


def test_a_library_without_a_tuning_model_has_no_estimates():
    with pytest.raises(InputError, match="gloo has no tuning model"):
        tuning.estimates("all_reduce", MIB, fabric("dgx-a100", 8, "gloo"))


@pytest.mark.parametrize("name", ["nccl-2.28", "nccl-2.29"])
def test_each_protocol_of_a_tuning_model_has_costs(name):
    library = Library.load(name)
    model = Tuning.load(f"{name}-tuning")
    assert library.tuning == model
    for chip in model.architectures:
        named = {p.name for p in library.protocols if chip.startswith(p.architectures) and "ring" in p.algorithms}
        assert named == set(model.protocols)


def test_a_row_with_a_missing_value_is_refused():
    table = Tuning.load("nccl-2.28-tuning").model_dump()
    table["algorithms"]["ring"]["base"] = table["algorithms"]["ring"]["base"][:2]
    with pytest.raises(ValueError, match="give 3 values in each row"):
        Tuning.model_validate(table)


PUBLISHED = [("hgx-h200", 5, 414.2e9), ("hgx-h200", 8, 473.1e9), ("hgx-b200", 6, 778.2e9), ("hgx-b200", 8, 838e9)]


@pytest.mark.parametrize(("cluster", "gpus", "measured"), PUBLISHED)
def test_nvls_reaches_the_published_bus_bandwidth(cluster, gpus, measured):
    """stas00/ml-engineering at 744d01e1, network/README.md: all-reduce of 8 GiB on p5en and p6-b200, NCCL 2.27.7."""
    message = 8192 * MIB
    seconds = closed_form(*fastest_protocol(message, auto.all_reduce, fabric(cluster, gpus)))
    assert 2 * (gpus - 1) / gpus * message / seconds == pytest.approx(measured, rel=0.04)  # rows of the fit: its error


def test_a_library_without_protocols_has_its_own_costs_and_the_faster_of_ring_and_tree():
    """`lbsim explain` removes the protocols to find what latency costs."""
    scenario = override(Scenario.of(gpus=16, cluster="dgx-h100", all_reduce="auto"), {"software.library": "nccl-2.28"})
    free = override(scenario, {"software.library.protocols": (), "software.library.per_collective": 0.0})
    assert predict(free).step_time <= predict(scenario).step_time
