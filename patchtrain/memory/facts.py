"""`GpuFacts`: what a GPU model takes besides tensors, measured once and kept for later estimates.

Kept in the cache folder, one file a GPU model, driver and torch. Knows nothing of budgets, trials
or of how the numbers are measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from patchtrain.cache import cache_dir
from patchtrain.files import atomic_path

PAGE_BYTES = 20 * 2**20
"""Step in which torch's allocator grows a segment for large blocks, where nobody measured it."""


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What one GPU model takes besides tensors, under one driver and one torch."""

    name: str
    """Of the model, as CUDA reports it; empty in the assumption."""
    driver: str
    torch: str
    total_bytes: int | None
    """Memory that CUDA reports; None in the assumption."""
    context_bytes: int
    """Held outside torch's allocator after a warm-up: CUDA's context, kernels, libraries. The most
    of all precisions."""
    context_by_precision: Mapping[str, int]
    """The same for each precision, as it was last measured."""
    workspace_bytes: int
    """Scratch memory of cuBLAS and cuDNN, which torch's allocator serves."""
    page_bytes: int
    """Step in which torch's allocator grows a segment for large blocks, if it can."""
    expandable_segments: bool
    """Whether torch's allocator can grow its segments there."""
    lists_process: bool
    """Whether the driver tells a process what it holds."""

    @property
    def is_measured(self) -> bool:
        """Whether this was measured on a device and is not the assumption."""
        return bool(self.name)

    @property
    def growth_bytes(self) -> int:
        """Step in which torch's allocator grows a segment for large blocks; 0 if it cannot."""
        return self.page_bytes if self.expandable_segments else 0

    def allocator_limit_bytes(self, budget_bytes: int, context_bytes: int) -> int:
        """Return the limit for torch's allocator with which the whole process keeps to the budget.

        torch compares with its limit before it rounds up to whole pages, so a growing segment may
        pass the limit by part of a page.
        """
        return max(0, budget_bytes - context_bytes - self.growth_bytes)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> GpuFacts | None:
        """Return what `to_json` gave; None for anything else."""
        if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(cls)}:
            return None
        facts = cls(**values)
        if not isinstance(facts.context_by_precision, Mapping):
            return None
        contexts = facts.context_by_precision.values()
        sizes = (facts.context_bytes, facts.workspace_bytes, facts.page_bytes, *contexts)
        sizes += (facts.total_bytes or 0,)
        texts = (facts.name, facts.driver, facts.torch)
        flags = (facts.expandable_segments, facts.lists_process)
        is_whole = (
            all(type(size) is int and size >= 0 for size in sizes)
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(flag, bool) for flag in flags)
        )
        return facts if is_whole else None


ASSUMED = GpuFacts(
    name="",
    driver="",
    torch="",
    total_bytes=None,
    context_bytes=600 * 2**20,
    context_by_precision={},
    workspace_bytes=96 * 2**20,
    page_bytes=PAGE_BYTES,
    expandable_segments=True,
    lists_process=True,
)
"""What is assumed of a GPU that nobody has measured: 600 MiB of context; 96 MiB of workspace, for
cuBLAS (32 MiB on Hopper, less before) and the convolutions."""


def worst(found: Sequence[GpuFacts]) -> GpuFacts:
    """Return what holds on each of several GPUs: the most that any takes, the least that any has.

    Args:
        found: at least one.
    """
    most = max(found, key=lambda facts: facts.context_bytes)
    sizes = [facts.total_bytes for facts in found if facts.total_bytes is not None]
    return replace(
        most,
        total_bytes=min(sizes, default=None),
        workspace_bytes=max(facts.workspace_bytes for facts in found),
        page_bytes=max(facts.page_bytes for facts in found),
        expandable_segments=all(facts.expandable_segments for facts in found),
        lists_process=all(facts.lists_process for facts in found),
    )


def recall(name: str, driver: str, torch: str) -> GpuFacts | None:
    """Return what `remember` kept of a GPU model; None if that is missing or damaged."""
    with suppress(OSError, ValueError):
        found = GpuFacts.from_json(json.loads(_path(name, driver, torch).read_text()))
        if found is not None and (found.name, found.driver, found.torch) == (name, driver, torch):
            return found
    return None


def remember(facts: GpuFacts) -> None:
    """Keep `facts` for later; if the cache folder cannot be written, they are not kept."""
    with suppress(OSError), atomic_path(_path(facts.name, facts.driver, facts.torch)) as path:
        path.write_text(json.dumps(facts.to_json(), indent=2) + "\n")


def _path(name: str, driver: str, torch: str) -> Path:
    file_name = re.sub(r"[^A-Za-z0-9.+-]+", "_", f"{name}_{driver}_{torch}")
    return cache_dir() / "gpus" / f"{file_name}.json"
