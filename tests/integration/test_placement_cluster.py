"""What a simulated cluster of several nodes holds at once: Ray's count against the arithmetic.

One machine plays a head without GPU, a node with two large GPUs and one with a smaller one. The
GPUs are logical, and their sizes come from the file of answers that a sweep keeps.
"""

import json
import os
import shutil
import tempfile
import time
from collections import Counter

import pytest

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from sweeps import placement
from sweeps.cluster import quieten
from sweeps.placement import Placement, survey

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

GB = 10**9
NODES = {
    "head": {"num_cpus": 4, "memory": 7 * GB},
    "large": {"num_cpus": 8, "memory": 8 * GB, "num_gpus": 2},
    "small": {"num_cpus": 8, "memory": 4 * GB, "num_gpus": 1},
}
GPU_BYTES = {"large": 40 * GB, "small": 24 * GB}
NUM_EXTRA = 2
"""Trials more than fit at once."""


@pytest.fixture(scope="module")
def nodes():
    """Ray's id of a node -> its name in `NODES`; connected to the cluster of all of them."""
    import ray
    from ray.cluster_utils import Cluster

    quieten()
    folder = tempfile.mkdtemp(prefix="ray")  # short: it holds sockets
    cluster = Cluster()
    with pytest.MonkeyPatch.context() as patch:
        # else other processes of this machine that want a Ray of their own find this one
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
            yield {
                node["NodeID"]: name
                for node in ray.nodes()
                for name in NODES
                if name in node["Resources"]
            }
        finally:
            ray.shutdown()
            cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def answers(nodes, tmp_path):
    """File of what the nodes said of their GPUs."""
    path = tmp_path / "gpus.json"
    sizes = {key: GPU_BYTES[name] for key, name in nodes.items() if name in GPU_BYTES}
    path.write_text(json.dumps(sizes))
    return path


def slots_of(places, budget_bytes):
    """Return the slots that are computed for each node, by its name."""
    return {
        next(name for name in NODES if name in node): num
        for node, num in zip(
            places._cluster.nodes, places.slots_by_node(budget_bytes), strict=True
        )
        if num
    }


def created_groups(nodes):
    """Return how many placement groups stand on each node, by its name."""
    from ray.util import placement_group_table

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
def test_a_cluster_reserves_for_as_many_trials_as_computed(
    nodes, answers, budget_gb, device, slots
):
    from ray.util import placement_group, remove_placement_group

    budget_bytes = int(budget_gb * GB)
    places = Placement(TrialConfig(device=device), [budget_bytes], survey(cache_path=answers))
    assert slots_of(places, budget_bytes) == slots
    num_wanted = places.num_slots() + len(NODES)
    groups = [placement_group([places.resources(budget_bytes)]) for _ in range(num_wanted)]
    wait_until(lambda: created_groups(nodes).total() >= places.num_slots())
    time.sleep(0.5)  # for one too many
    created = created_groups(nodes)
    for group in groups:
        remove_placement_group(group)
    wait_until(lambda: not created_groups(nodes))
    assert created == slots


def waiting_trainable(folder):
    """A trial that notes where it runs and waits, so that all that fit run at once."""
    from ray import tune

    class Waiting(tune.Trainable):
        def reset_config(self, new_config):
            return True

        def step(self):
            import ray

            context = ray.get_runtime_context()
            note = {
                "node": context.get_node_id(),
                "gpus": context.get_accelerator_ids()["GPU"],
                "pid": os.getpid(),
            }
            (folder / f"{self.trial_id}.json").write_text(json.dumps(note))
            while not (folder / "go").exists():
                time.sleep(0.05)
            return {"done": True}

    return Waiting


def first_wave(folder, num_slots, count):
    """A callback that lets the trials go once `num_slots` wait; `count` is called before."""
    from ray import tune

    class FirstWave(tune.Callback):
        def __init__(self):
            self.notes, self.counted = [], None
            self.ends_at = time.monotonic() + 60

        def on_step_end(self, iteration, trials, **info):
            notes = list(folder.glob("*.json"))
            if self.counted is None and (
                len(notes) >= num_slots or time.monotonic() > self.ends_at
            ):
                time.sleep(0.5)  # for one too many
                self.counted = count()
                self.notes = [json.loads(note.read_text()) for note in folder.glob("*.json")]
                (folder / "go").touch()

    return FirstWave()


def run_trials(places, budgets_bytes, nodes, tmp_path, monkeypatch):
    """Run more trials than fit; return notes of those that ran at once, of all, and the groups."""
    from ray import tune

    folder = tmp_path / "notes"
    folder.mkdir()
    num_trials = places.num_slots() + NUM_EXTRA
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", str(num_trials))
    wave = first_wave(folder, places.num_slots(), lambda: created_groups(nodes))
    budgets = [budgets_bytes[index % len(budgets_bytes)] for index in range(num_trials)]
    tuner = tune.Tuner(
        tune.with_resources(
            waiting_trainable(folder),
            lambda config: tune.PlacementGroupFactory([places.resources(config["budget"])]),
        ),
        param_space={"budget": tune.grid_search(budgets)},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "tune"), callbacks=[wave], verbose=0
        ),
    )
    results = tuner.fit()
    assert len(results) == num_trials and not results.errors
    everyone = [json.loads(note.read_text()) for note in folder.glob("*.json")]
    return wave.notes, everyone, wave.counted


def test_trials_fill_the_gpus_of_a_cluster_and_none_lies_across_two(
    nodes, answers, tmp_path, monkeypatch
):
    budget_bytes = 10 * GB
    places = Placement(TrialConfig(), [budget_bytes], survey(cache_path=answers))
    slots = slots_of(places, budget_bytes)
    assert slots == {"large": 4, "small": 2}
    at_once, everyone, groups = run_trials(places, [budget_bytes], nodes, tmp_path, monkeypatch)
    assert groups == slots
    assert Counter(nodes[note["node"]] for note in at_once) == slots
    assert all(len(note["gpus"]) == 1 for note in everyone)
    on_gpu = Counter((nodes[note["node"]], note["gpus"][0]) for note in at_once)
    assert on_gpu == {("large", "0"): 2, ("large", "1"): 2, ("small", "0"): 2}


def test_trials_on_cpus_fill_the_memory_of_a_cluster_and_share_workers(
    nodes, tmp_path, monkeypatch
):
    budgets_bytes = [1_800_000_000, 1_900_000_000]
    places = Placement(TrialConfig(device="cpu"), budgets_bytes, survey(asks_gpus=False))
    slots = slots_of(places, budgets_bytes[0])
    assert slots == {"head": 2, "large": 2, "small": 1}
    at_once, everyone, groups = run_trials(places, budgets_bytes, nodes, tmp_path, monkeypatch)
    assert groups == slots
    assert Counter(nodes[note["node"]] for note in at_once) == slots
    assert len(everyone) == len(at_once) + NUM_EXTRA
    assert len({note["pid"] for note in everyone}) == len(at_once)


def test_logical_gpus_do_not_tell_their_memory(nodes, answers):
    sizes = json.loads(answers.read_text())
    small = next(key for key, name in nodes.items() if name == "small")
    del sizes[small]
    answers.write_text(json.dumps(sizes))
    with pytest.raises(ConfigError, match=r"CUDA sees no GPU.*--gpu-memory.*device=cpu"):
        survey(cache_path=answers)
    assert survey(24 * GB, answers).gpu_memory_bytes == 24 * GB


def test_gpus_that_do_not_answer_are_not_waited_for(nodes, monkeypatch):
    monkeypatch.setattr(placement, "_QUERY_LIMIT_S", 0.01)
    with pytest.raises(ConfigError, match=r"did not tell .* within 0.01 s; .*--gpu-memory"):
        survey()
