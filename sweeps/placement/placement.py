"""What a trial reserves on the cluster: CPUs, host memory, and the GPU share that fits the budget.

The arithmetic is pure; `survey` asks Ray. Knows nothing of trainers and samplers.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.files import atomic_path
from patchtrain.memory.facts import ASSUMED, GpuFacts, worst
from patchtrain.units import format_bytes

if TYPE_CHECKING:
    import torch

PROCESS_OVERHEAD_BYTES = 1_000_000_000
"""Host memory of a worker besides tensors: Python, torch, the list of a data set."""

MEMORY_STEP_BYTES = 250_000_000
"""Host memory is reserved in steps of this size: Tune passes a worker on only to a trial that asks
for exactly the same resources, and starting a new one costs seconds."""

_BATCHES_IN_USE = 2
"""The batch that is trained on, and its copy on the way to the device or the next one read."""

_BATCHES_AHEAD = 2
"""Batches that each reading process holds ready: torch's `prefetch_factor`."""

_UNITS = 10_000
"""Ray counts every resource in whole units of 1/10,000."""

_QUERY_LIMIT_S = 60.0
"""How long nodes may take to report the memory of their GPUs, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the nodes of a cluster offer."""

    nodes: tuple[Mapping[str, float], ...]
    """Ray resources of each node: CPU, GPU, memory (bytes)."""
    gpu_memory_bytes: int | None = None
    """Memory of the smallest GPU; None: no GPU is there, or its memory is unknown."""
    gpus_by_node: Mapping[str, GpuFacts] = field(default_factory=dict)
    """Ray's id of a node -> what is known of its smallest GPU, for the nodes that were asked."""

    @property
    def gpu_facts(self) -> GpuFacts | None:
        """What holds on every GPU that was asked; None if none was."""
        return worst(list(self.gpus_by_node.values())) if self.gpus_by_node else None

    @property
    def has_gpu(self) -> bool:
        """Whether trials can have a GPU, now or once a node with one is started."""
        return self.gpu_memory_bytes is not None or any(node.get("GPU") for node in self.nodes)


class Placement:
    """What the trials of one sweep reserve on one cluster.

    A trial reserves one CPU, one more for each process that reads images, host memory, and on a
    GPU a share as large as budget / GPU memory. On the CPU the budget is host memory too, so trials
    are packed by memory. A trial that needs more host memory than any node has gets a node alone.

    If GPUs differ in size, shares refer to the smallest: Ray counts GPUs but ignores their memory,
    and may put any trial on any of them. So a larger GPU holds no more trials than the smallest.

    Args:
        base: settings that the trials share.
        budgets_bytes: budgets of the sweep.
        cluster: the nodes to place them on.

    Raises:
        ConfigError: a budget exceeds the memory of a GPU, or `device=cuda` without a GPU.
    """

    def __init__(self, base: TrialConfig, budgets_bytes: Sequence[int], cluster: Cluster) -> None:
        if base.device.startswith("cuda:"):
            raise ConfigError(
                f"device={base.device!r}: Ray picks the GPU of each trial and hides the others; "
                "use --set device=cuda"
            )
        if base.device == "cuda" and not cluster.has_gpu:
            raise ConfigError(
                f"device={base.device!r} but no node of the cluster has a GPU; use "
                "--set device=cpu, or --gpu-memory if GPU nodes are started on demand"
            )
        self._base = base
        self._cluster = cluster
        self._num_cpus = 1.0 + base.num_workers
        self._uses_gpu = base.device == "cuda" or (base.device == "auto" and cluster.has_gpu)
        hosts = [node for node in self._nodes_of_device() if node.get("CPU", 0.0) >= self._num_cpus]
        # the memory of nodes that have yet to start is unknown
        self._node_memory_bytes = max((n.get("memory", 0.0) for n in hosts), default=math.inf)
        self._has_host = bool(hosts)
        self._budgets_bytes = tuple(budgets_bytes)
        for budget in budgets_bytes:
            self.resources(budget)

    @property
    def device(self) -> str:
        """Kind of the device that trials run on, `cpu` or `cuda`."""
        return "cuda" if self._uses_gpu else "cpu"

    def check_fits(self, *, may_grow: bool) -> None:
        """Refuse trials that no node can ever hold, and that would wait forever.

        Args:
            may_grow: whether the cluster starts nodes for trials that wait; nothing is known about
                such nodes, so nothing is refused.

        Raises:
            ConfigError: says what is missing, and what to change.
        """
        if may_grow or self._has_host:
            return
        nodes = self._nodes_of_device()
        if not nodes:
            raise ConfigError(
                f"--gpu-memory {format_bytes(self._cluster.gpu_memory_bytes)} but no node of the "
                "cluster has a GPU, and no others will start; leave --gpu-memory out to use the "
                "CPU, or give the --address of a cluster with GPUs"
            )
        where = "no node with a GPU" if self._uses_gpu else "no node"
        most = int(max(node.get("CPU", 0.0) for node in nodes))
        if most < 1:
            raise ConfigError(
                f"device={self.device!r}: a trial needs a CPU, but {where} offers one; start one "
                "with `ray start --num-cpus=N`, or leave --address out to use this machine"
            )
        raise ConfigError(
            f"num_workers={self._base.num_workers} makes a trial need {self._num_cpus:g} CPUs, but "
            f"{where} has more than {most}; use --set num_workers={most - 1} or less"
        )

    def resources(self, budget_bytes: int) -> dict[str, float]:
        """Return what a trial under `budget_bytes` reserves, as Ray resources."""
        wanted = {"CPU": self._num_cpus}
        needed_bytes = host_bytes(self._base)
        if self._uses_gpu:
            wanted["GPU"] = _gpu_share(budget_bytes, self._cluster.gpu_memory_bytes)
        else:
            needed_bytes += budget_bytes
        stepped_bytes = -(-needed_bytes // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES
        if memory_bytes := min(stepped_bytes, self._node_memory_bytes):
            wanted["memory"] = float(memory_bytes)
        return wanted

    def slots_by_node(self, budget_bytes: int) -> list[int]:
        """Return how many trials under `budget_bytes` each node holds at the same time."""
        wanted = self.resources(budget_bytes)
        return [_num_fitting(wanted, node) for node in self._cluster.nodes]

    def num_slots(self) -> int:
        """Return how many trials of the smallest budget all nodes together hold."""
        return sum(self.slots_by_node(min(self._budgets_bytes)))

    def _nodes_of_device(self) -> list[Mapping[str, float]]:
        """Return the nodes with the kind of device that trials run on."""
        return [n for n in self._cluster.nodes if not self._uses_gpu or n.get("GPU", 0.0) >= 1]


def host_bytes(config: TrialConfig) -> int:
    """Return the host memory that a trial takes besides its budget, in bytes.

    That is the overhead of the process, and the images that exist at the same time, each uint8
    [image_size, image_size, 3]: two batches in the training process, and two more for each reading
    process. Reading processes are forks, which share everything else with the training process.
    Memory for decoding an image is not included.
    """
    batch_bytes = config.batch_size * config.image_size**2 * 3
    num_batches = _BATCHES_IN_USE + _BATCHES_AHEAD * config.num_workers
    return PROCESS_OVERHEAD_BYTES + num_batches * batch_bytes


def _gpu_share(budget_bytes: int, gpu_memory_bytes: int | None) -> float:
    """Return the share of a GPU for a budget, in steps that Ray can count.

    It is rounded down, so that three thirds fit on a GPU; but up if otherwise one more trial would
    be placed than the memory holds.
    """
    if gpu_memory_bytes is None:
        return 1.0
    if budget_bytes > gpu_memory_bytes:
        raise ConfigError(
            f"--budgets: {format_bytes(budget_bytes)} is more than the "
            f"{format_bytes(gpu_memory_bytes)} of the smallest GPU; leave it out, or give another "
            "--gpu-memory"
        )
    units = max(1, budget_bytes * _UNITS // gpu_memory_bytes)
    if _UNITS // units > gpu_memory_bytes // budget_bytes:
        units += 1
    return units / _UNITS


def _num_fitting(wanted: Mapping[str, float], node: Mapping[str, float]) -> int:
    """Return how many times `wanted` fits on `node`, counted as Ray does.

    A share must lie on a single GPU: 0.6 fits on two GPUs twice, not three times.
    """
    return min(
        int(node.get(name, 0.0)) * (_UNITS // _units(amount))
        if name == "GPU"
        else _units(node.get(name, 0.0)) // _units(amount)
        for name, amount in wanted.items()
    )


def _units(amount: float) -> int:
    return round(amount * _UNITS)


def survey(
    gpu_memory_bytes: int | None = None,
    cache_path: Path | None = None,
    *,
    asks_gpus: bool = True,
    precision: str = "fp32",
) -> Cluster:
    """Return what the connected Ray cluster offers.

    Args:
        gpu_memory_bytes: memory of a GPU, if the user gave it; it also says that there are GPUs,
            which a cluster that starts nodes on demand does not show at first.
        cache_path: file with answers that `remember` wrote: only nodes that are missing there are
            asked. It need not exist.
        asks_gpus: False leaves the GPUs alone, for trials that run on the CPU.
        precision: of the trials; CUDA's libraries load other kernels for each.

    Raises:
        ConfigError: a node does not report the memory of its GPUs.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    by_node: dict[str, GpuFacts] = {}
    if gpu_memory_bytes is None and asks_gpus:
        gpu_nodes = [node for node in nodes if node["Resources"].get("GPU", 0) > 0]
        by_node = _gpus_by_node(gpu_nodes, _recalled(cache_path), precision)
        sizes = [facts.total_bytes for facts in by_node.values()]
        gpu_memory_bytes = min((size for size in sizes if size is not None), default=None)
    return Cluster(
        nodes=tuple(dict(node["Resources"]) for node in nodes),
        gpu_memory_bytes=gpu_memory_bytes,
        gpus_by_node=by_node,
    )


def remember(cluster: Cluster, path: Path) -> None:
    """Write what is known of the GPUs of `cluster` to `path`, for the next `survey`.

    If the file cannot be written, that is no error: the GPUs are asked again.
    """
    if cluster.gpus_by_node:
        by_node = {key: facts.to_json() for key, facts in cluster.gpus_by_node.items()}
        with suppress(OSError), atomic_path(path) as temporary:
            temporary.write_text(json.dumps(by_node, indent=2) + "\n")


def _recalled(path: Path | None) -> dict[str, GpuFacts]:
    """Return what `remember` wrote; nothing if the file is missing or damaged."""
    with suppress(OSError, ValueError):
        held = json.loads(path.read_text()) if path is not None else None
        if isinstance(held, dict):
            found = {key: _recalled_gpu(values) for key, values in held.items()}
            return {key: facts for key, facts in found.items() if facts is not None}
    return {}


def _recalled_gpu(values: Any) -> GpuFacts | None:
    if type(values) is int and values > 0:  # files of earlier versions have the memory alone
        return dataclasses.replace(ASSUMED, total_bytes=values)
    return GpuFacts.from_json(values)


def _gpus_by_node(
    nodes: Sequence[Mapping[str, Any]], known: Mapping[str, GpuFacts], precision: str
) -> dict[str, GpuFacts]:
    """Return what is known of each node's smallest GPU, by Ray's id of the node.

    Args:
        nodes: as Ray lists them.
        known: earlier answers; these nodes are not asked again.
    """
    ids = [node["NodeID"] for node in nodes]
    found = {key: known[key] for key in ids if key in known}
    return found | _asked([node for node in nodes if node["NodeID"] not in found], precision)


def _asked(nodes: Sequence[Mapping[str, Any]], precision: str) -> dict[str, GpuFacts]:
    """Have a task on each node report what it knows of its smallest GPU."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # The task reserves nothing, so that it runs next to whatever is on the GPUs. The process ends
    # with it: once CUDA has seen all GPUs there, it could not be restricted to that of a trial.
    ask = ray.remote(num_cpus=0, num_gpus=0, max_calls=1, max_retries=1)(_smallest_gpu)
    tasks = {
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(int(node["Resources"]["GPU"]), precision): node
        for node in nodes
    }
    if not tasks:
        return {}
    answered, silent = ray.wait(list(tasks), num_returns=len(tasks), timeout=_QUERY_LIMIT_S)
    if silent:
        for task in silent:
            ray.cancel(task, force=True)
        addresses = ", ".join(sorted({tasks[task]["NodeManagerAddress"] for task in silent}))
        raise ConfigError(
            f"the GPUs of {addresses} did not report their memory within {_QUERY_LIMIT_S:g} s; "
            "free them, give --gpu-memory, or leave GPUs alone with --set device=cpu"
        )
    return {tasks[task]["NodeID"]: _answer(task, tasks[task]) for task in answered}


def _answer(task: Any, node: Mapping[str, Any]) -> GpuFacts:
    import ray

    try:
        return ray.get(task)
    except Exception as error:  # whatever it is, the user can say what GPUs these are
        cause = getattr(error, "cause", None) or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise ConfigError(
            f"the GPUs of {node['NodeManagerAddress']} do not report their memory ({reason}); give "
            "--gpu-memory, or leave GPUs alone with --set device=cpu"
        ) from None


def _smallest_gpu(num_gpus: int, precision: str) -> GpuFacts:
    """Return what is known of the smallest of the first `num_gpus` GPUs; runs on their node.

    If a GPU is cut into slices, CUDA shows a process one slice.
    """
    import torch

    from patchtrain.memory.driver import Gpu

    num_seen = torch.cuda.device_count()
    if num_seen == 0:
        raise RuntimeError("CUDA sees no GPU there")
    devices = [torch.device("cuda", index) for index in range(min(num_gpus, num_seen))]
    sizes = [Gpu(device).total_bytes for device in devices]
    smallest = sizes.index(min(sizes))
    facts = _measured(devices[smallest], precision)
    return dataclasses.replace(facts, total_bytes=sizes[smallest])


def _measured(device: torch.device, precision: str) -> GpuFacts:
    """Return what a trial finds on `device`; the assumption if it cannot be measured now, as when
    others hold all of its memory.
    """
    from patchtrain.memory.guards import guard_for

    try:
        guard = guard_for(device, None, precision)
        try:
            return guard.facts or ASSUMED
        finally:
            guard.release()
    except (ConfigError, RuntimeError):
        return ASSUMED
