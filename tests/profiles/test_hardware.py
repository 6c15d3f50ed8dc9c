import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.profiles.catalog import SHIPPED
from lbsim.profiles.hardware import Accelerator, Cluster, Link
from lbsim.profiles.software import Kernels, Library, Software

ACCELERATORS = {name: Accelerator.load(name) for name in SHIPPED.files("accelerators")}
LINKS = {name: Link.load(name) for name in SHIPPED.files("links")}
CLUSTERS = {name: Cluster.load(name) for name in SHIPPED.files("clusters")}

EVERY_ACCELERATOR = pytest.mark.parametrize("card", ACCELERATORS.values(), ids=ACCELERATORS)
EVERY_LINK = pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
EVERY_CLUSTER = pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)

AMPERE_AND_LATER = {"GA100", "GA102", "AD102", "GH100", "GB100"}
PROCESSORS = {"KNL", "SKX"}


@EVERY_LINK
@given(message=st.floats(min_value=0, max_value=1e10), more=st.floats(min_value=1, max_value=1e10))
def test_a_larger_message_takes_longer(link, message, more):
    assert link.time(message + more) > link.time(message)


@EVERY_LINK
@given(message=st.floats(min_value=0, max_value=1e10))
def test_no_message_is_faster_than_the_latency_nor_than_the_rated_bandwidth(link, message):
    assert link.time(message) >= max(link.latency, message / link.bandwidth)


@EVERY_LINK
def test_halving_the_efficiency_doubles_the_time_beyond_the_latency(link):
    half = link.model_copy(update={"efficiency": link.efficiency / 2})
    assert half.time(1e9) - half.latency == pytest.approx(2 * (link.time(1e9) - link.latency))


@EVERY_LINK
def test_the_figures_of_a_link_are_plausible(link):
    assert 0.1e-6 < link.latency < 100e-6
    assert 1e9 < link.bandwidth < 1e12


@EVERY_ACCELERATOR
def test_the_figures_of_an_accelerator_are_plausible(card):
    assert 1e12 < card.peak.fp32 < 200e12
    assert 8e9 < card.memory < 300e9
    assert 100e9 < card.memory_bandwidth < 10e12
    assert 0 < card.launch_overhead < 50e-6


@EVERY_ACCELERATOR
def test_fp32_outpaces_memory_on_every_accelerator(card):
    assert 5 < card.peak.fp32 / card.memory_bandwidth < 120  # FLOP a byte


@EVERY_ACCELERATOR
def test_tensor_cores_are_faster_in_fp16_than_ordinary_cores_in_fp32(card):
    if card.tensor_cores:
        assert card.peak.fp16 > 1.9 * card.peak.fp32


@EVERY_ACCELERATOR
def test_tf32_and_bf16_came_with_ampere(card):
    has = card.architecture in AMPERE_AND_LATER
    assert (card.peak.tf32 is not None, card.peak.bf16 is not None) == (has, has)
    if has:
        assert card.peak.bf16 == card.peak.fp16
        assert card.peak.tf32 == pytest.approx(card.peak.fp16 / 2, rel=0.02)  # printed rounded


@EVERY_ACCELERATOR
def test_gp102_runs_fp16_at_one_sixty_fourth_of_fp32(card):
    if card.architecture == "GP102":
        assert card.peak.fp16 == pytest.approx(card.peak.fp32 / 64, rel=0.03)  # P40 is sold as 12, is 11.76


@EVERY_ACCELERATOR
def test_only_processors_without_a_gpu_start_kernels_slowly(card):
    assert (card.launch_overhead > 5.5e-6) == (card.architecture in PROCESSORS)


@pytest.mark.parametrize(
    ("name", "fp32", "fp16", "memory", "memory_bandwidth"),
    [
        ("p40", 12e12, None, 24e9, 346e9),  # slides on Jia et al., arXiv:1807.11205, table of GPUs
        ("p100-pcie", 9.3e12, 18.7e12, 16e9, 732e9),  # same, and data sheet
        ("p100-sxm2", 10.6e12, 21.2e12, 16e9, 732e9),
        ("v100-sxm2-16gb", 15.7e12, 125e12, 16e9, 900e9),
        ("a100-sxm-40gb", 19.5e12, 312e12, 40e9, 1555e9),
        ("h100-sxm", 67e12, 989e12, 80e9, 3350e9),  # data sheet, without sparsity
        ("h200", 67e12, 989e12, 141e9, 4800e9),
        ("k80", 4.37e12, None, 12e9, 240e9),  # half of the card
    ],
)
def test_an_accelerator_has_its_data_sheets_figures(name, fp32, fp16, memory, memory_bandwidth):
    card = ACCELERATORS[name]
    assert card.peak.fp32 == pytest.approx(fp32, rel=0.005)
    assert fp16 is None or card.peak.fp16 == pytest.approx(fp16, rel=0.005)
    assert card.memory == memory
    assert card.memory_bandwidth == memory_bandwidth


@pytest.mark.parametrize(
    ("name", "lanes", "cores", "clock"),
    [
        ("knl-7250", 64, 68, 1.4e9),  # two units of 16 lanes, each with multiply and add
        ("xeon-8160", 64, 24, 2.0e9),
        ("p40", 2, 3840, 1.531e9),
        ("titan-x-pascal", 2, 3584, 1.531e9),
        ("gtx-1080-ti", 2, 3584, 1.582e9),
        ("p100-sxm2", 2, 3584, 1.480e9),
        ("v100-sxm2-16gb", 2, 5120, 1.530e9),
        ("rtx-2080-ti", 2, 4352, 1.545e9),
        ("rtx-3090", 2, 10496, 1.695e9),
        ("rtx-a6000", 2, 10752, 1.800e9),
        ("a100-sxm-40gb", 2, 6912, 1.410e9),
        ("l40s", 2, 18176, 2.520e9),
    ],
)
def test_fp32_is_lanes_times_cores_times_clock(name, lanes, cores, clock):
    assert ACCELERATORS[name].peak.fp32 == pytest.approx(lanes * cores * clock, rel=0.025)  # P40: 12 for 11.76


def test_a_node_of_two_sockets_is_twice_one():
    one, two = ACCELERATORS["xeon-8160"], ACCELERATORS["xeon-8160-node"]
    assert two.peak.fp32 == 2 * one.peak.fp32
    assert (two.memory, two.memory_bandwidth) == (2 * one.memory, 2 * one.memory_bandwidth)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ethernet-10g-tcp", 1.15e9, 1.22e9),  # variants of a fit to Shi et al., arXiv:2005.13247
        ("ethernet-100g-tcp", 2.3e9, 2.8e9),  # same
        ("pcie-3-no-p2p", 4.5e9, 6.8e9),  # same
        ("ib-fdr", 4.1e9, 5.6e9),  # NCCL in DeepBench, TITAN X and M40, and in HKBU-HPML/MG-WFBP
        ("ib-edr", 11.9e9, 12.3e9),  # nccl-tests issue 29: 12.2, and 48 over 4 ports
        ("ib-ndr", 46e9, 48e9),  # nccl-tests issue 290
        ("pcie-3", 11.8e9, 12.3e9),  # NCCL's topology model: 12.0
        ("pcie-3-switch", 8.7e9, 9.0e9),  # DeepBench, 8 TITAN X
        ("pcie-3-host-bridge", 5.8e9, 6.1e9),  # DeepBench, 8 P100 or M40
        ("pcie-5", 55e9, 56e9),  # stas00/ml-engineering: 55.4 measured
        ("nvlink-1", 71e9, 73e9),  # NCCL: 4 x 18
        ("nvlink-2", 119e9, 121e9),  # NCCL: 6 x 20
        ("nvlink-3", 230e9, 240e9),  # stas00/ml-engineering: 235 measured
        ("nvlink-4", 365e9, 372e9),  # nccl-tests issue 212: 370; H200: 367.6
    ],
)
def test_large_messages_reach_the_published_bandwidth(name, low, high):
    assert low <= LINKS[name].efficiency * LINKS[name].bandwidth <= high


@pytest.mark.parametrize(
    ("library", "link", "low", "high"),
    [
        ("nccl-2", "ethernet-10g-tcp", 11e-6, 13e-6),  # variants of a fit to Shi et al., arXiv:2005.13247
        ("nccl-2", "ethernet-100g-tcp", 13e-6, 17e-6),  # same
        ("nccl-2", "ib-edr", 5e-6, 6e-6),  # same
        ("nccl-2017", "ib-fdr", 8e-6, 10e-6),  # NCCL 2.8.3, tuning.cc, ring, Simple: 9.6
        ("mlsl", "omni-path-100", 6e-6, 8e-6),  # fit to DeepBench, KNL 7250F: 6.9, 14 %
    ],
)
def test_library_and_link_have_the_measured_latency_of_a_ring_step(library, link, low, high):
    assert low <= Library.load(library).per_step + LINKS[link].latency <= high


@pytest.mark.parametrize(
    ("library", "link", "low", "high"),
    [
        ("nccl-2", "pcie-3-no-p2p", 1e-6, 9e-6),  # variants of a fit to Shi et al., arXiv:2005.13247
        ("nccl-2017", "pcie-3-host-bridge", 2e-6, 8.5e-6),  # DeepBench: P100 6.8, M40 7.2 to 8.4, TITAN X 2.3 to 4
    ],
)
def test_a_ring_step_costs_less_inside_a_node(library, link, low, high):
    costs = Library.load(library)
    assert costs.per_step_inside is not None
    assert low <= costs.per_step_inside + LINKS[link].latency <= high
    assert costs.per_step_inside <= costs.per_step


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("pcie-3", "pcie-4"),
        ("pcie-4", "pcie-5"),
        ("nvlink-1", "nvlink-2"),
        ("nvlink-2", "nvlink-3"),
        ("nvlink-3", "nvlink-4"),
        ("ib-fdr", "ib-edr"),
        ("ib-edr", "ib-hdr"),
        ("ib-hdr", "ib-ndr"),
        ("ethernet-10g-tcp", "ethernet-10g-roce"),
        ("ethernet-10g-roce", "ethernet-25g-roce"),
        ("ethernet-100g-tcp", "ethernet-100g-roce"),
        ("pcie-3-host-bridge", "pcie-3-switch"),
        ("pcie-3-switch", "pcie-3"),
    ],
)
def test_the_better_link_sends_25_mb_in_less_time(smaller, larger):
    assert LINKS[larger].time(25e6) < LINKS[smaller].time(25e6)


@EVERY_CLUSTER
def test_a_cluster_has_the_size_of_a_real_system(cluster):
    assert cluster.gpus_per_node in {1, 4, 8, 16}
    assert cluster.nics <= 8
    assert cluster.gpus_per_node % cluster.nics == 0


@pytest.mark.parametrize(
    ("name", "accelerator", "gpus_per_node", "inter_node", "nics"),
    [
        ("mn-1", "p100-pcie", 8, "ib-fdr", 1),  # arXiv:1711.04325
        ("jizhi-p40", "p40", 8, "ethernet-100g-roce", 1),  # arXiv:1807.11205
        ("big-basin", "p100-sxm2", 8, "ethernet-50g-roce", 1),  # arXiv:1706.02677, section 4
        ("minsky", "p100-sxm2", 4, "ib-edr", 1),  # arXiv:1708.02188
        ("dgx-1-v100", "v100-sxm2-16gb", 8, "ib-edr", 4),
        ("dgx-h100", "h100-sxm", 8, "ib-ndr", 8),
        ("stampede2-knl", "knl-7250", 1, "omni-path-100", 1),
        ("hkbu-ib", "rtx-2080-ti", 4, "ib-edr", 1),  # arXiv:2005.13247
    ],
)
def test_a_cluster_matches_its_paper(name, accelerator, gpus_per_node, inter_node, nics):
    cluster = CLUSTERS[name]
    assert (cluster.accelerator.name, cluster.gpus_per_node) == (accelerator, gpus_per_node)
    assert (cluster.inter_node.name, cluster.nics) == (inter_node, nics)


def test_a_dgx_1_node_sends_48_gb_per_second():
    links = CLUSTERS["dgx-1-v100"]
    reached = links.nics * links.inter_node.efficiency * links.inter_node.bandwidth
    assert reached == pytest.approx(48e9, rel=0.01)  # NVIDIA/nccl-tests issue 29


@pytest.mark.parametrize("name", SHIPPED.files("libraries"))
def test_a_librarys_costs_are_microseconds(name):
    library = Library.load(name)
    assert 1e-6 <= library.per_step <= library.per_collective <= 100e-6


@pytest.mark.parametrize("name", SHIPPED.files("software"))
def test_the_overheads_of_software_are_within_measured_ranges(name):
    software = Software.load(name)
    assert 2e-6 <= software.kernel_time <= 100e-6  # 36 ms a step of ResNet-50 were seen with TensorFlow of 2017
    assert 0 < software.straggler_spread <= 0.06  # the widest that a published system implies
    assert 0.25e9 <= software.reserved_memory <= 8e9


@pytest.mark.parametrize("name", SHIPPED.files("kernels"))
def test_kernels_run_backward_no_faster_than_forward(name):
    kernels = Kernels.load(name)
    assert kernels.backward_efficiency <= 1 <= kernels.winograd_speedup
    assert kernels.channel_granule & (kernels.channel_granule - 1) == 0


@pytest.mark.parametrize("written", ["90 d", "2160 h", "7776000 s"])
def test_the_mean_time_between_failures_is_text_in_days_or_hours(written, tmp_path):
    file = tmp_path / "mine.toml"
    shipped = SHIPPED.find("clusters", "polaris").read_text()
    file.write_text(f'{shipped}\nnode_mtbf = "{written}"\nrestart = "10 min"\ncheckpoint_bandwidth = "2 GB/s"\n')
    cluster = Cluster.load(file)
    assert (cluster.node_mtbf, cluster.restart, cluster.checkpoint_bandwidth) == (90 * 86400, 600, 2e9)
    assert CLUSTERS["polaris"].node_mtbf is None
