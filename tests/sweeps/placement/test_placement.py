"""What a trial reserves and how many fit, by arithmetic; what is asked of GPUs, without Ray."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.memory import driver, guards
from patchtrain.memory.facts import ASSUMED
from sweeps.placement import placement
from sweeps.placement.placement import (
    MEMORY_STEP_BYTES,
    PROCESS_OVERHEAD_BYTES,
    Cluster,
    Placement,
    host_bytes,
    remember,
    survey,
)

GB = 10**9
MB = 10**6
CPU_ONLY = Cluster(nodes=({"CPU": 4, "memory": 10 * GB},))
GPUS = Cluster(
    nodes=({"CPU": 16, "GPU": 2, "memory": 60 * GB}, {"CPU": 8, "GPU": 1, "memory": 60 * GB}),
    gpu_memory_bytes=24 * GB,
)


def place(*budgets_gb, cluster=CPU_ONLY, **settings):
    return Placement(TrialConfig(**settings), [int(gb * GB) for gb in budgets_gb], cluster)


def test_on_the_cpu_host_memory_is_reserved_beside_cpus():
    wanted = place(4).resources(4 * GB)
    assert wanted.keys() == {"CPU", "memory"}
    needed_bytes = 4 * GB + host_bytes(TrialConfig())
    assert needed_bytes <= wanted["memory"] < needed_bytes + MEMORY_STEP_BYTES
    assert place(4).num_slots() == 1
    assert place(3).num_slots() == 2


@pytest.mark.parametrize("budgets_mb", [(20, 60), (30, 80), (50, 100)])
def test_small_budgets_ask_for_the_same_so_that_one_worker_serves_all_of_them(budgets_mb):
    places = place(0.02, 0.1)
    first, second = (places.resources(budget * MB) for budget in budgets_mb)
    assert first == second == {"CPU": 1, "memory": PROCESS_OVERHEAD_BYTES + MEMORY_STEP_BYTES}


def test_two_small_trials_run_side_by_side_on_a_small_machine():
    small = Cluster(nodes=({"CPU": 2, "memory": 4 * GB},))
    assert place(0.02, 0.1, cluster=small).num_slots() == 2
    tiny = Cluster(nodes=({"CPU": 2, "memory": 2 * GB},))
    assert place(0.02, 0.1, cluster=tiny).num_slots() == 1


def test_a_budget_above_the_nodes_memory_does_not_wait_for_ever():
    places = place(24)
    assert places.resources(24 * GB)["memory"] == 10 * GB
    assert places.num_slots() == 1


def test_memory_of_nodes_that_cannot_take_a_trial_does_not_count():
    nodes = ({"CPU": 0, "memory": 500 * GB}, {"CPU": 4, "memory": 10 * GB})
    assert place(24, cluster=Cluster(nodes=nodes)).slots_by_node(24 * GB) == [0, 1]
    nodes = ({"CPU": 64, "memory": 500 * GB}, {"CPU": 4, "GPU": 1, "memory": GB})
    head_and_gpu = Cluster(nodes=nodes, gpu_memory_bytes=24 * GB)
    assert place(24, cluster=head_and_gpu).slots_by_node(24 * GB) == [0, 1]


def test_images_on_the_host_are_counted_with_those_read_ahead():
    config = TrialConfig(image_size=4096, batch_size=4)
    batch_bytes = 4 * 4096 * 4096 * 3
    assert host_bytes(config) == PROCESS_OVERHEAD_BYTES + 2 * batch_bytes
    config = TrialConfig(image_size=4096, batch_size=4, num_workers=3)
    assert host_bytes(config) == PROCESS_OVERHEAD_BYTES + 8 * batch_bytes


@pytest.mark.parametrize(
    ("budget_gb", "share"), [(4, 0.1666), (8, 0.3333), (12, 0.5), (16, 0.6666), (24, 1.0)]
)
def test_on_gpus_a_trial_reserves_the_share_that_its_budget_is(budget_gb, share):
    wanted = place(budget_gb, cluster=GPUS).resources(budget_gb * GB)
    assert wanted["GPU"] == share
    assert wanted["CPU"] == 1
    assert wanted["memory"] == PROCESS_OVERHEAD_BYTES + MEMORY_STEP_BYTES


@pytest.mark.parametrize(
    ("budget_gb", "slots"), [(4, [12, 6]), (8, [6, 3]), (12, [4, 2]), (16, [2, 1]), (24, [2, 1])]
)
def test_capped_trials_pack_side_by_side_on_gpus(budget_gb, slots):
    places = place(budget_gb, cluster=GPUS)
    assert places.slots_by_node(budget_gb * GB) == slots
    assert places.num_slots() == sum(slots)


def test_a_third_and_two_thirds_of_a_gpu_share_it():
    places = place(8, 16, cluster=GPUS)
    assert places.resources(8 * GB)["GPU"] + places.resources(16 * GB)["GPU"] <= 1


def test_host_memory_and_cpus_limit_what_a_gpu_holds():
    gpu = {"CPU": 16, "GPU": 1, "memory": 4 * GB}
    assert place(2, cluster=Cluster(nodes=(gpu,), gpu_memory_bytes=24 * GB)).num_slots() == 3
    gpu = {"CPU": 2, "GPU": 1, "memory": 40 * GB}
    assert place(2, cluster=Cluster(nodes=(gpu,), gpu_memory_bytes=24 * GB)).num_slots() == 2


def test_reading_processes_count_as_cpus():
    places = place(1, num_workers=3)
    assert places.resources(GB)["CPU"] == 4
    assert places.num_slots() == 1


def test_a_gpu_of_unknown_size_is_given_whole():
    cluster = Cluster(nodes=({"CPU": 4, "GPU": 1, "memory": 60 * GB},))
    assert place(1, cluster=cluster).resources(GB)["GPU"] == 1.0


def test_gpu_nodes_may_still_have_to_start():
    head = Cluster(nodes=({"CPU": 4, "memory": 10 * GB},), gpu_memory_bytes=24 * GB)
    places = place(12, cluster=head)
    assert places.resources(12 * GB)["GPU"] == 0.5
    assert places.num_slots() == 0
    places.check_fits(may_grow=True)


def test_trials_on_the_cpu_leave_gpus_alone():
    assert "GPU" not in place(1, cluster=GPUS, device="cpu").resources(GB)


@pytest.mark.parametrize(
    ("cluster", "device", "kind"),
    [
        (GPUS, "auto", "cuda"),
        (GPUS, "cuda", "cuda"),
        (GPUS, "cpu", "cpu"),
        (CPU_ONLY, "auto", "cpu"),
    ],
)
def test_the_device_is_known_before_any_trial_runs(cluster, device, kind):
    assert place(1, cluster=cluster, device=device).device == kind


def test_a_budget_above_the_smallest_gpu_is_refused():
    with pytest.raises(ConfigError, match=r"--budgets: 32GB is more than the 24GB .*--gpu-memory"):
        place(8, 32, cluster=GPUS)
    place(32, cluster=GPUS, device="cpu")


def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(ConfigError, match="device='cuda' but no node"):
        place(1, device="cuda")


@pytest.mark.parametrize(
    ("nodes", "gpu_memory_bytes", "message"),
    [
        (
            [{"CPU": 2, "memory": 10 * GB}] * 2,
            None,
            "num_workers=4 makes a trial need 5 CPUs, but no node has more than 2; use --set "
            "num_workers=1 or less",
        ),
        (
            [{"CPU": 64, "memory": 10 * GB}, {"CPU": 4, "GPU": 1, "memory": 10 * GB}],
            24 * GB,
            "no node with a GPU has more than 4; use --set num_workers=3",
        ),
        ([{"CPU": 0, "memory": 10 * GB}], None, "device='cpu': a trial needs a CPU, but no node"),
        ([{"CPU": 8, "memory": 10 * GB}], 24 * GB, "--gpu-memory 24GB but no node .* has a GPU"),
    ],
)
def test_what_no_node_can_ever_hold_is_refused_unless_the_cluster_grows(
    nodes, gpu_memory_bytes, message
):
    cluster = Cluster(nodes=tuple(nodes), gpu_memory_bytes=gpu_memory_bytes)
    places = place(1, cluster=cluster, num_workers=4)
    with pytest.raises(ConfigError, match=message):
        places.check_fits(may_grow=False)
    places.check_fits(may_grow=True)


def test_what_a_node_holds_is_let_through():
    place(24, num_workers=3).check_fits(may_grow=False)
    place(24, cluster=GPUS, num_workers=7).check_fits(may_grow=False)


node_sizes = st.fixed_dictionaries(
    {
        "CPU": st.integers(0, 64).map(float),
        "GPU": st.integers(0, 8).map(float),
        "memory": st.integers(GB, 600 * GB).map(float),
    }
)


@given(
    nodes=st.lists(node_sizes, min_size=1, max_size=4),
    gpu_bytes=st.integers(GB, 200 * GB),
    budget_share=st.floats(0, 1),
    num_workers=st.integers(0, 3),
    device=st.sampled_from(["cpu", "auto"]),
)
def test_slots_fill_every_node_and_one_more_does_not_fit(
    nodes, gpu_bytes, budget_share, num_workers, device
):
    budget_bytes = max(1, int(budget_share * gpu_bytes))
    cluster = Cluster(nodes=tuple(nodes), gpu_memory_bytes=gpu_bytes)
    base = TrialConfig(device=device, num_workers=num_workers)
    places = Placement(base, [budget_bytes], cluster)
    wanted = {name: exact(amount) for name, amount in places.resources(budget_bytes).items()}
    share = wanted.pop("GPU", None)

    def fits(num_trials, node):
        held = {name: exact(node[name]) for name in wanted}
        on_gpus = share is None or num_trials <= int(node["GPU"]) * math.floor(1 / share)
        return on_gpus and all(num_trials * wanted[name] <= held[name] for name in wanted)

    slots = places.slots_by_node(budget_bytes)
    assert all(fits(num, node) for num, node in zip(slots, nodes, strict=True))
    assert not any(fits(num + 1, node) for num, node in zip(slots, nodes, strict=True))


@given(gpu_bytes=st.integers(GB, 200 * GB), budget_share=st.floats(0, 1))
def test_a_gpu_holds_as_many_trials_as_its_memory_does(gpu_bytes, budget_share):
    budget_bytes = max(gpu_bytes // 5_000, int(budget_share * gpu_bytes))
    nodes = ({"CPU": 10_000, "GPU": 1, "memory": 10_000 * GB * 10},)
    places = Placement(
        TrialConfig(), [budget_bytes], Cluster(nodes=nodes, gpu_memory_bytes=gpu_bytes)
    )
    share = exact(places.resources(budget_bytes)["GPU"])
    assert places.num_slots() * budget_bytes <= gpu_bytes
    assert share <= 1
    assert abs(share - Fraction(budget_bytes, gpu_bytes)) < Fraction(1, 10_000)
    if budget_bytes * 50 > gpu_bytes:  # below, a step of Ray's may be a trial
        assert places.num_slots() == gpu_bytes // budget_bytes


def exact(amount):
    """Return `amount` in units of 1/10,000, as a fraction: what Ray makes of a float."""
    return Fraction(round(amount * 10_000), 10_000)


def gpu(total_bytes, **changes):
    """Return what a node may tell of its GPU."""
    found = replace(ASSUMED, name="GPU", total_bytes=total_bytes, context_bytes=300 * MB)
    return replace(found, **changes)


@pytest.fixture
def asked(monkeypatch):
    """Nodes a (24GB), b (40GB) and c (no GPU), as Ray lists them; collects who is asked."""
    import ray

    sizes = {"a": 24 * GB, "b": 40 * GB}
    collected = []

    def nodes():
        resources = {"CPU": 8.0, "memory": 60.0 * GB}
        return [
            {"NodeID": key, "Alive": True, "Resources": resources | {"GPU": 1.0}} for key in sizes
        ] + [
            {"NodeID": "c", "Alive": True, "Resources": resources},
            {"NodeID": "gone", "Alive": False, "Resources": resources | {"GPU": 1.0}},
        ]

    def ask(nodes, precision):
        collected.extend(node["NodeID"] for node in nodes)
        return {node["NodeID"]: gpu(sizes[node["NodeID"]]) for node in nodes}

    monkeypatch.setattr(ray, "nodes", nodes)
    monkeypatch.setattr(placement, "_asked", ask)
    return collected


def test_the_smallest_gpu_of_the_cluster_counts(asked):
    cluster = survey()
    assert cluster.gpu_memory_bytes == 24 * GB
    assert [node.get("GPU", 0) for node in cluster.nodes] == [1, 1, 0]
    assert asked == ["a", "b"]


def test_only_new_nodes_are_asked_again(asked, tmp_path):
    path = tmp_path / "gpus.json"
    known = gpu(16 * GB)
    path.write_text(json.dumps({"a": known.to_json(), "long_gone": known.to_json()}))
    cluster = survey(cache_path=path)
    assert asked == ["b"]
    assert cluster.gpu_memory_bytes == 16 * GB
    remember(cluster, path)
    assert json.loads(path.read_text()) == {"a": known.to_json(), "b": gpu(40 * GB).to_json()}
    assert survey(cache_path=path) == cluster
    assert asked == ["b"]


def test_answers_of_earlier_versions_have_the_memory_alone(asked, tmp_path):
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps({"a": 16 * GB}))
    cluster = survey(cache_path=path)
    assert asked == ["b"]
    assert cluster.gpus_by_node["a"] == replace(ASSUMED, total_bytes=16 * GB)


def test_what_holds_on_every_gpu_is_what_the_search_counts_on(asked, tmp_path):
    path = tmp_path / "gpus.json"
    odd = gpu(16 * GB, context_bytes=900 * MB, expandable_segments=False, workspace_bytes=1)
    path.write_text(json.dumps({"a": odd.to_json()}))
    facts = survey(cache_path=path).gpu_facts
    assert (facts.total_bytes, facts.context_bytes) == (16 * GB, 900 * MB)
    assert facts.workspace_bytes == ASSUMED.workspace_bytes
    assert not facts.expandable_segments and facts.lists_process
    assert CPU_ONLY.gpu_facts is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": -1, "b": {"total_bytes": 1}}', b"\xff"])
def test_a_damaged_file_of_answers_says_nothing(asked, tmp_path, content):
    path = tmp_path / "gpus.json"
    path.write_bytes(content)
    survey(cache_path=path)
    assert asked == ["a", "b"]


def test_a_survey_writes_nothing(asked, tmp_path):
    path = tmp_path / "run" / "gpus.json"
    cluster = survey(cache_path=path)
    assert asked == ["a", "b"]
    assert not path.parent.exists()
    remember(cluster, path)
    assert path.exists()
    remember(cluster, path / "in" / "a" / "file")


@pytest.mark.parametrize("options", [{"gpu_memory_bytes": 8 * GB}, {"asks_gpus": False}])
def test_gpus_are_left_alone_where_nothing_needs_to_be_known(asked, tmp_path, options):
    cluster = survey(**options)
    assert cluster.gpu_memory_bytes == options.get("gpu_memory_bytes")
    assert asked == []
    remember(cluster, tmp_path / "gpus.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("num_gpus", "smallest_gb"), [(1, 40), (2, 24), (3, 24), (8, 16)])
def test_a_node_tells_the_smallest_of_the_gpus_that_ray_has_there(
    monkeypatch, num_gpus, smallest_gb
):
    class Gpu:
        def __init__(self, device):
            self.total_bytes = (40 * GB, 24 * GB, 32 * GB, 16 * GB)[device.index]

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(driver, "Gpu", Gpu)
    measured = gpu(1, context_bytes=321)
    monkeypatch.setattr(placement, "_measured", lambda device, precision: measured)
    told = placement._smallest_gpu(num_gpus, "bf16")
    assert told == replace(measured, total_bytes=smallest_gb * GB)


def test_a_gpu_that_cannot_be_measured_now_is_assumed(monkeypatch):
    def refuse(device, budget_bytes, precision):
        raise torch.OutOfMemoryError("others hold all of it")

    monkeypatch.setattr(guards, "guard_for", refuse)
    assert placement._measured(torch.device("cuda", 0), "fp32") == ASSUMED


def test_a_node_whose_gpus_cuda_does_not_see_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(RuntimeError, match="CUDA sees no GPU"):
        placement._smallest_gpu(2, "fp32")


def test_a_gpu_by_its_number_is_refused():
    with pytest.raises(ConfigError, match=r"device='cuda:1': Ray picks .* --set device=cuda"):
        place(1, cluster=GPUS, device="cuda:1")
