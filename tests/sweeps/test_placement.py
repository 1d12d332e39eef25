"""What a trial reserves: arithmetic only."""

import pytest

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from sweeps.placement import PROCESS_OVERHEAD_BYTES, Cluster, Placement

GB = 10**9
CPU_ONLY = Cluster(nodes=({"CPU": 4, "memory": 10 * GB},))
GPUS = Cluster(
    nodes=({"CPU": 16, "GPU": 2, "memory": 60 * GB}, {"CPU": 8, "GPU": 1, "memory": 60 * GB}),
    gpu_memory_bytes=24 * GB,
)


def place(*budgets_gb, cluster=CPU_ONLY, **settings):
    return Placement(TrialConfig(**settings), [int(gb * GB) for gb in budgets_gb], cluster)


def test_small_budgets_ask_for_a_cpu_alone_so_that_workers_serve_all_of_them():
    placement = place(0.1, 1)
    assert placement.resources(GB // 10) == placement.resources(GB) == {"CPU": 1}
    assert placement.num_slots() == 4


def test_budgets_beyond_a_cpus_share_of_memory_are_reserved():
    placement = place(1, 4)
    assert placement.resources(4 * GB) == {"CPU": 1, "memory": 4 * GB + PROCESS_OVERHEAD_BYTES}
    assert placement.resources(GB) == {"CPU": 1, "memory": GB + PROCESS_OVERHEAD_BYTES}
    assert place(4).num_slots() == 2


def test_a_budget_above_the_nodes_memory_does_not_wait_for_ever():
    placement = place(24)
    assert placement.resources(24 * GB)["memory"] == 10 * GB
    assert placement.num_slots() == 1


@pytest.mark.parametrize(("budget_gb", "share"), [(4, 0.1667), (8, 0.3334), (12, 0.5), (24, 1.0)])
def test_on_gpus_a_trial_reserves_the_share_that_its_budget_is(budget_gb, share):
    wanted = place(budget_gb, cluster=GPUS).resources(budget_gb * GB)
    assert wanted["GPU"] == pytest.approx(share)
    assert wanted["GPU"] * 24 >= budget_gb


def test_capped_trials_pack_side_by_side_on_gpus():
    assert place(12, cluster=GPUS).num_slots() == 6
    assert place(24, cluster=GPUS).num_slots() == 3


def test_reading_processes_count_as_cpus():
    assert place(1, num_workers=3).resources(GB)["CPU"] == 4


def test_a_gpu_of_unknown_size_is_given_whole():
    cluster = Cluster(nodes=({"CPU": 4, "GPU": 1, "memory": 60 * GB},))
    assert place(1, cluster=cluster).resources(GB)["GPU"] == 1.0


def test_gpu_nodes_may_still_have_to_start():
    head = Cluster(nodes=({"CPU": 4, "memory": 10 * GB},), gpu_memory_bytes=24 * GB)
    placement = place(12, cluster=head)
    assert placement.resources(12 * GB)["GPU"] == 0.5
    assert placement.num_slots() == 0


def test_trials_on_the_cpu_leave_gpus_alone():
    assert "GPU" not in place(1, cluster=GPUS, device="cpu").resources(GB)


def test_a_budget_above_the_smallest_gpu_is_refused():
    with pytest.raises(ConfigError, match=r"--budgets: 32GB is more than the 24GB .*--gpu-memory"):
        place(8, 32, cluster=GPUS)
    place(32, cluster=GPUS, device="cpu")


def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(ConfigError, match="device='cuda' but no node"):
        place(1, device="cuda")
