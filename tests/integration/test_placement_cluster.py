"""What a simulated cluster of several nodes holds at once: Ray's count against the arithmetic.

One machine plays a head without GPU, a node with two large GPUs and one with a smaller one. The
GPUs are logical; their sizes come from the file of answers that a sweep keeps.
"""

import json
import os
import shutil
import tempfile
import time
from collections import Counter

import pytest
import ray
from ray import tune
from ray.cluster_utils import Cluster
from ray.util import placement_group, placement_group_table, remove_placement_group

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from sweeps.placement import placement
from sweeps.placement.cluster import quieten, starts_nodes
from sweeps.placement.placement import Placement, survey

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

GB = 10**9
NODES = {
    "head": {"num_cpus": 4, "memory": 9 * GB},
    "large": {"num_cpus": 8, "memory": 8 * GB, "num_gpus": 2},
    "small": {"num_cpus": 8, "memory": 4 * GB, "num_gpus": 1},
}
GPU_BYTES = {"large": 40 * GB, "small": 24 * GB}
NUM_EXTRA = 2
"""Trials more than fit at once."""
SETTLE_S = 0.5
"""How long one too many is given to show up."""


@pytest.fixture(scope="module")
def simulated():
    """The cluster; this process is connected to it."""
    quieten()
    folder = tempfile.mkdtemp(prefix="ray")  # short: it holds sockets
    cluster = Cluster()
    with pytest.MonkeyPatch.context() as patch:
        # else processes of this machine that start a Ray of their own meanwhile would find this one
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            for name, offers in NODES.items():
                cluster.add_node(
                    wait=name == "head",
                    resources={name: 1},
                    object_store_memory=80_000_000,
                    include_dashboard=False,
                    **offers,
                )
            cluster.wait_for_nodes()
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def nodes(simulated):
    """Ray's id of a node -> its name in `NODES`."""
    return {node["NodeID"]: name_of(node["Resources"]) for node in ray.nodes()}


def name_of(resources):
    return next(name for name in NODES if name in resources)


@pytest.fixture
def answers(nodes, tmp_path):
    """File with the GPU memory that the nodes reported."""
    path = tmp_path / "gpus.json"
    sizes = {key: GPU_BYTES[name] for key, name in nodes.items() if name in GPU_BYTES}
    path.write_text(json.dumps(sizes))
    return path


def computed_slots(cluster, places, budget_bytes):
    """Return the computed number of slots of each node that has any, by name."""
    slots = places.slots_by_node(budget_bytes)
    return {name_of(node): num for node, num in zip(cluster.nodes, slots, strict=True) if num}


def created_groups(nodes):
    """Return the number of trials that each node holds resources for, by name."""
    return Counter(
        nodes[node_id]
        for group in placement_group_table().values()
        if group["state"] == "CREATED"
        for node_id in group["bundles_to_node_id"].values()
    )


def wait_until(condition, timeout_s=30.0):
    ends_at = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < ends_at:
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("budget_gb", "device", "slots"),
    [
        (8, "auto", {"large": 6, "small": 3}),
        (12, "auto", {"large": 4, "small": 2}),
        (13, "auto", {"large": 2, "small": 1}),
        (24, "auto", {"large": 2, "small": 1}),
        (2, "cpu", {"head": 2, "large": 2, "small": 1}),
        (0.02, "cpu", {"head": 4, "large": 6, "small": 3}),
    ],
)
def test_nodes_reserve_for_as_many_trials_as_computed(nodes, answers, budget_gb, device, slots):
    budget_bytes = int(budget_gb * GB)
    cluster = survey(cache_path=answers)
    places = Placement(TrialConfig(device=device), [budget_bytes], cluster)
    assert computed_slots(cluster, places, budget_bytes) == slots
    num_wanted = places.num_slots() + len(NODES)
    groups = [placement_group([places.resources(budget_bytes)]) for _ in range(num_wanted)]
    wait_until(lambda: created_groups(nodes).total() >= places.num_slots())
    time.sleep(SETTLE_S)
    created = created_groups(nodes)
    for group in groups:
        remove_placement_group(group)
    wait_until(lambda: not created_groups(nodes))
    assert created == slots


def waiting_trainable(folder):
    """Trials that note where they run and wait for the file `go`, so that all that fit run at once.

    A class of a function, since workers cannot import this file.
    """

    class Waiting(tune.Trainable):
        def reset_config(self, new_config):
            return True

        def step(self):
            context = ray.get_runtime_context()
            gpus = context.get_accelerator_ids()["GPU"]
            note = {"node": context.get_node_id(), "gpus": gpus, "pid": os.getpid()}
            (folder / f"{self.trial_id}.json").write_text(json.dumps(note))
            while not (folder / "go").exists():
                time.sleep(0.05)
            return {"done": True}

    return Waiting


def notes_in(folder):
    return [json.loads(path.read_text()) for path in folder.glob("*.json")]


class FirstWave(tune.Callback):
    """Lets the trials go once `num_slots` of them wait, and keeps what was there at that time."""

    def __init__(self, folder, num_slots, nodes):
        self.notes, self.reserved = None, None
        self._folder, self._num_slots, self._nodes = folder, num_slots, nodes
        self._ends_at = time.monotonic() + 100

    def on_step_end(self, iteration, trials, **info):
        num_waiting = len(list(self._folder.glob("*.json")))
        is_full = num_waiting >= self._num_slots or time.monotonic() > self._ends_at
        if self.notes is None and is_full:
            time.sleep(SETTLE_S)
            self.notes, self.reserved = notes_in(self._folder), created_groups(self._nodes)
            (self._folder / "go").touch()


def run_trials(places, budgets_bytes, nodes, tmp_path, monkeypatch):
    """Run more trials than fit; return the first wave of them, and the notes of all."""
    folder = tmp_path / "notes"
    folder.mkdir()
    num_trials = places.num_slots() + NUM_EXTRA
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", str(num_trials))
    wave = FirstWave(folder, places.num_slots(), nodes)
    budgets = [budgets_bytes[index % len(budgets_bytes)] for index in range(num_trials)]
    # workers are sent this; with `places` they would import torch
    requests = {budget: places.resources(budget) for budget in budgets_bytes}
    tuner = tune.Tuner(
        tune.with_resources(
            waiting_trainable(folder),
            lambda config: tune.PlacementGroupFactory([requests[config["budget"]]]),
        ),
        param_space={"budget": tune.grid_search(budgets)},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "tune"),
            callbacks=[wave],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    results = tuner.fit()
    assert not results.errors
    everyone = notes_in(folder)
    assert len(everyone) == len(results) == num_trials
    return wave, everyone


def test_trials_fill_the_gpus_of_a_cluster_and_none_lies_across_two(
    nodes, answers, tmp_path, monkeypatch
):
    budget_bytes = 10 * GB
    cluster = survey(cache_path=answers)
    places = Placement(TrialConfig(), [budget_bytes], cluster)
    slots = computed_slots(cluster, places, budget_bytes)
    assert slots == {"large": 4, "small": 2}
    wave, everyone = run_trials(places, [budget_bytes], nodes, tmp_path, monkeypatch)
    assert wave.reserved == Counter(nodes[note["node"]] for note in wave.notes) == slots
    assert all(len(note["gpus"]) == 1 for note in everyone)
    on_gpu = Counter((nodes[note["node"]], *note["gpus"]) for note in wave.notes)
    assert on_gpu == {("large", "0"): 2, ("large", "1"): 2, ("small", "0"): 2}


def test_trials_on_cpus_fill_the_memory_of_a_cluster_and_share_workers(
    nodes, tmp_path, monkeypatch
):
    budgets_bytes = [3_100_000_000, 3_200_000_000]
    cluster = survey(asks_gpus=False)
    places = Placement(TrialConfig(device="cpu"), budgets_bytes, cluster)
    slots = computed_slots(cluster, places, min(budgets_bytes))
    assert slots == {"head": 2, "large": 1}
    wave, everyone = run_trials(places, budgets_bytes, nodes, tmp_path, monkeypatch)
    assert wave.reserved == Counter(nodes[note["node"]] for note in wave.notes) == slots
    assert {note["pid"] for note in everyone} == {note["pid"] for note in wave.notes}


def test_logical_gpus_do_not_tell_their_memory(nodes, answers):
    sizes = json.loads(answers.read_text())
    answers.write_text(
        json.dumps({key: size for key, size in sizes.items() if nodes[key] == "large"})
    )
    with pytest.raises(ConfigError, match=r"CUDA sees no GPU.*--gpu-memory.*device=cpu"):
        survey(cache_path=answers)
    assert survey(24 * GB, answers).gpu_memory_bytes == 24 * GB


def test_gpus_that_do_not_answer_are_not_waited_for(nodes, monkeypatch):
    monkeypatch.setattr(placement, "_QUERY_LIMIT_S", 0.01)
    with pytest.raises(ConfigError, match=r"did not report .* within 0.01 s; .*--gpu-memory"):
        survey()


def test_an_autoscaler_is_known_by_the_groups_of_its_nodes(simulated, monkeypatch):
    assert not starts_nodes()
    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "gpu-workers")
    node = simulated.add_node(num_cpus=0, object_store_memory=80_000_000)
    assert starts_nodes()
    simulated.remove_node(node)
