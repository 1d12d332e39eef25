"""What a trial asks the cluster for: the share of a GPU that its budget is, CPUs, host memory.

Knows nothing of trainers and samplers. The arithmetic is pure; `survey` asks Ray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.units import format_bytes

PROCESS_OVERHEAD_BYTES = 1_000_000_000
"""Host memory of a worker beside its tensors: Python, torch, the images of a small data set."""

_SHARE_STEP = 10_000
"""Ray counts GPUs in steps of 1/10,000."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the nodes of a cluster offer."""

    nodes: tuple[Mapping[str, float], ...]
    """Ray resources of each node: CPU, GPU, memory (bytes)."""
    gpu_memory_bytes: int | None = None
    """Of the smallest GPU; None: there is none, or it is unknown."""

    @property
    def has_gpu(self) -> bool:
        """Whether trials may have a GPU, now or once a node for it is started."""
        return self.gpu_memory_bytes is not None or any(node.get("GPU") for node in self.nodes)


class Placement:
    """What the trials of one sweep reserve on one cluster.

    On the CPU the budget is host memory. It is reserved when one of the budgets is more than a
    CPU's share of its node, so that CPUs alone would overfill it; otherwise all trials ask for
    the same, which lets one worker serve one trial after the other.

    Args:
        base: what the trials share.
        budgets_bytes: budgets of the sweep.

    Raises:
        ConfigError: a budget is more than a GPU has, or no GPU is there for `device=cuda`.
    """

    def __init__(self, base: TrialConfig, budgets_bytes: Sequence[int], cluster: Cluster) -> None:
        if base.device.startswith("cuda") and not cluster.has_gpu:
            raise ConfigError(
                f"device={base.device!r} but no node of the cluster has a GPU; use "
                "--set device=cpu, or --gpu-memory if GPU nodes are started on demand"
            )
        self._cluster = cluster
        self._num_cpus = 1.0 + base.num_workers
        self._uses_gpu = base.device.startswith("cuda") or (
            base.device == "auto" and cluster.has_gpu
        )
        self._node_memory_bytes = max(node.get("memory", 0.0) for node in cluster.nodes)
        needed_bytes = max(budgets_bytes) + PROCESS_OVERHEAD_BYTES
        self._reserves_memory = any(
            node.get("memory", 0.0) * self._num_cpus < needed_bytes * node["CPU"]
            for node in cluster.nodes
            if node.get("CPU")
        )
        self._budgets_bytes = tuple(budgets_bytes)
        for budget in budgets_bytes:
            self.resources(budget)

    def resources(self, budget_bytes: int) -> dict[str, float]:
        """Return what a trial under `budget_bytes` reserves, as Ray resources."""
        if self._uses_gpu:
            share = _gpu_share(budget_bytes, self._cluster.gpu_memory_bytes)
            return {"CPU": self._num_cpus, "GPU": share}
        wanted = {"CPU": self._num_cpus}
        if self._reserves_memory:
            # More than a node has would be waited for for ever: such a trial has a node alone.
            needed_bytes = budget_bytes + PROCESS_OVERHEAD_BYTES
            wanted["memory"] = float(min(needed_bytes, self._node_memory_bytes))
        return wanted

    def num_slots(self) -> int:
        """Return how many trials of the smallest budget fit on the nodes side by side."""
        wanted = self.resources(min(self._budgets_bytes))
        return sum(
            min(int(node.get(name, 0.0) / amount) for name, amount in wanted.items())
            for node in self._cluster.nodes
        )


def _gpu_share(budget_bytes: int, gpu_memory_bytes: int | None) -> float:
    """Return the share of a GPU that a budget is, rounded up to what Ray can count."""
    if gpu_memory_bytes is None:
        return 1.0
    if budget_bytes > gpu_memory_bytes:
        raise ConfigError(
            f"--budgets: {format_bytes(budget_bytes)} is more than the "
            f"{format_bytes(gpu_memory_bytes)} of the smallest GPU; leave it out, or give another "
            "--gpu-memory"
        )
    return math.ceil(budget_bytes / gpu_memory_bytes * _SHARE_STEP) / _SHARE_STEP


def survey(gpu_memory_bytes: int | None = None) -> Cluster:
    """Return what the connected Ray cluster offers.

    Args:
        gpu_memory_bytes: memory of a GPU, where the user said so; also says that there are GPUs,
            which a cluster that starts nodes on demand does not show at first.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpu_nodes = [node["NodeID"] for node in nodes if node["Resources"].get("GPU", 0) > 0]
    if gpu_memory_bytes is None and gpu_nodes:
        gpu_memory_bytes = _smallest_gpu_bytes(gpu_nodes)
    return Cluster(
        nodes=tuple(dict(node["Resources"]) for node in nodes),
        gpu_memory_bytes=gpu_memory_bytes,
    )


def _smallest_gpu_bytes(node_ids: Sequence[str]) -> int:
    """Ask one task on each of the nodes for the memory of its GPUs."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, num_gpus=0.001, max_retries=1)
    def memory_of_gpu() -> int:
        import torch

        from patchtrain.memory.driver import Gpu

        return Gpu(torch.device("cuda", 0)).total_bytes

    asked = [
        memory_of_gpu.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote()
        for node_id in node_ids
    ]
    return min(ray.get(asked))
