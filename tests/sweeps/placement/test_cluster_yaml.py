"""cluster.yaml is what `ray up` accepts, and keeps the promises of its comments."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from patchtrain.config import TrialConfig
from patchtrain.units import parse_budget
from sweeps.placement.placement import Cluster, Placement

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "cluster.yaml").read_text()


@pytest.fixture
def config():
    return yaml.safe_load(TEXT)


def test_ray_accepts_it(config):
    validate_config(prepare_config(config))


def test_ray_would_refuse_a_slip(config):
    config["available_node_types"]["gpu_worker"]["max_worker"] = 4
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(config))


def test_gpu_workers_come_and_go(config):
    worker = config["available_node_types"]["gpu_worker"]
    assert worker["resources"]["GPU"] >= 1
    assert worker["min_workers"] < worker["max_workers"] <= config["max_workers"]


def test_as_many_trials_share_a_gpu_as_its_comments_say():
    """The command at its top, counted as a sweep counts."""
    words = " ".join(line.strip("# \\") for line in TEXT.splitlines()).split()
    size = parse_budget(words[words.index("--gpu-memory") + 1])
    budgets = words[words.index("--budgets") + 1 : words.index("--gpu-memory")]
    small, large = map(parse_budget, budgets)
    node = {"CPU": 8.0, "GPU": 1.0, "memory": 30e9}
    told = Cluster(nodes=(node,), gpu_memory_bytes=size)
    places = Placement(TrialConfig(), [small, large], told)
    assert places.slots_by_node(small) == [3]
    assert places.resources(small)["GPU"] + places.resources(large)["GPU"] <= 1
    eight = Placement(TrialConfig(), [parse_budget("8GB")], told)
    assert eight.num_slots() == 2


def test_every_node_gets_the_dependencies_and_the_shared_storage(config):
    commands = "\n".join(config["setup_commands"])
    assert "/shared" in commands
    assert "pip install -q -r requirements.txt" in commands


def test_mounted_files_are_in_the_repository(config):
    own = [path for path in config["file_mounts"].values() if path.startswith("./")]
    assert own
    for path in own:
        assert (ROOT / path).exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the nodes' Python has tomllib")
def test_the_dependencies_command_lists_them(config):
    """The Python within the shell command runs, on this repository's pyproject.toml."""
    (command,) = [line for line in config["setup_commands"] if "tomllib" in line]
    listed = subprocess.run(
        [sys.executable, "-c", command.split('"')[1]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert any(line.startswith("ray[default,tune]") for line in listed)
