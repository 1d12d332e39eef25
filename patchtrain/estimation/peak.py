"""`Estimate`: the most that a trial will hold, when, and what for.

On the CPU the predicted peak is the one that the meter will measure; on CUDA torch's allocator is
simulated on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from patchtrain.config import TrialConfig
from patchtrain.estimation.allocator import AllocatorPeak, simulate
from patchtrain.memory.facts import GpuFacts
from patchtrain.memory.meter import BLOCK_BYTES, CATEGORIES
from patchtrain.memory.trace import Trace, TracePeak

WORKSPACE = "workspace"
"""What libraries take besides tensors, on CUDA; a key of `Estimate.attribution`."""


@dataclass(frozen=True)
class Estimate:
    """The most that training and validation of `config` will hold."""

    config: TrialConfig
    """With `patch_microbatch` chosen, if it was `auto`."""
    source: str
    """`dry run`, `closed form` or `cache`."""
    seconds: float
    """Time that the estimate took."""
    facts: GpuFacts
    """What is counted on besides tensors; on the CPU nothing is."""
    _trace: Trace = field(repr=False)
    _target: torch.device = field(repr=False)

    @cached_property
    def predicted_peak_bytes(self) -> int:
        """The most that tensors and, on CUDA, libraries' workspace take at a time."""
        return sum(self.attribution.values())

    @property
    def device(self) -> str:
        """Kind of device that the estimate is for: `cpu` or `cuda`."""
        return self._target.type

    @property
    def phase(self) -> str:
        """Part of the step in which the peak is reached: `fill`, `inner_iteration` (the backbone),
        `head`, `optimizer` or `validation`.
        """
        return self._peak.phase

    @cached_property
    def attribution(self) -> Mapping[str, int]:
        """Bytes at the peak by what they are for; they add up to `predicted_peak_bytes`."""
        by_category = dict(zip(CATEGORIES, self._peak.by_category, strict=True))
        return {**by_category, WORKSPACE: self._workspace_bytes}

    @cached_property
    def predicted_allocated_bytes(self) -> int:
        """What torch's CUDA allocator will hand out: the peak in its blocks, which in native
        segments can be larger than what was asked for.
        """
        return self._simulated(None).allocated_bytes

    @cached_property
    def predicted_reserved_bytes(self) -> int:
        """What torch's CUDA allocator will hold at most, cached blocks and gaps included; on CUDA
        with a page for the gaps that repeats leave, which the estimate leaves out.
        """
        page_bytes = 0 if self.device == "cpu" else self.facts.page_bytes
        return self._simulated(None).reserved_bytes + page_bytes

    @cached_property
    def needed_bytes(self) -> int:
        """A budget that is sure to be enough; on CUDA with the context, and with the room that
        torch's allocator checks for before it grows.
        """
        if self.device == "cpu":
            return self.predicted_peak_bytes
        _, num_bytes = self._requests()
        room_bytes = max(max(num_bytes) + 2 * 2**20, self.facts.page_bytes)
        room_bytes += self.facts.growth_bytes  # by which the allocator's limit is lower
        return self.predicted_reserved_bytes + room_bytes + self.facts.context_bytes

    def fits(self, budget_bytes: int) -> bool:
        """Whether the trial fits a budget. On CUDA one below `needed_bytes` may do: torch's
        allocator gives unused cache back before it fails.
        """
        if self.device == "cpu" or self.needed_bytes <= budget_bytes:
            return self.needed_bytes <= budget_bytes
        limit_bytes = self.facts.allocator_limit_bytes(budget_bytes, self.facts.context_bytes)
        return limit_bytes > 0 and self._simulated(limit_bytes).fits

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return {
            "predicted_peak_bytes": self.predicted_peak_bytes,
            "predicted_reserved_bytes": self.predicted_reserved_bytes,
            "needed_bytes": self.needed_bytes,
            "attribution": dict(self.attribution),
            "phase": self.phase,
            "patch_microbatch": self.config.patch_microbatch,
            "device": self.device,
            **self._counted_on(),
            "source": self.source,
            "seconds": round(self.seconds, 4),
        }

    def _counted_on(self) -> dict[str, Any]:
        """Return as JSON values what is counted on besides tensors; nothing on the CPU."""
        if self.device == "cpu":
            return {}
        return {
            "context_bytes": self.facts.context_bytes,
            "workspace_bytes": self.facts.workspace_bytes,
            "expandable_segments": self.facts.expandable_segments,
            "assumed": not self.facts.is_measured,
        }

    @cached_property
    def _peak(self) -> TracePeak:
        return self._trace.peak(BLOCK_BYTES, len(CATEGORIES))

    @property
    def _workspace_bytes(self) -> int:
        return 0 if self.device == "cpu" else self.facts.workspace_bytes

    def _simulated(self, limit_bytes: int | None) -> AllocatorPeak:
        return simulate(
            *self._requests(),
            expandable_segments=self.facts.expandable_segments,
            page_bytes=self.facts.page_bytes,
            limit_bytes=limit_bytes,
        )

    def _requests(self) -> tuple[list[int], list[int]]:
        """Return what the allocator is asked for (see `Trace.requests`), workspace first."""
        blocks, num_bytes = self._trace.requests()
        if not self._workspace_bytes:
            return blocks, num_bytes
        return [-1, *blocks], [self._workspace_bytes, *num_bytes]
