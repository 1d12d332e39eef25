"""Which guard enforces a budget on which device. Knows nothing of models or training."""

from __future__ import annotations

import torch

from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.cuda import CudaGuard


def guard_for(device: torch.device, budget_bytes: int | None) -> MemoryGuard:
    """Return the guard that enforces `budget_bytes` on `device`.

    Raises:
        ConfigError: a CUDA device that cannot hold the budget, or a budget below its context.
    """
    if device.type == "cuda":
        return CudaGuard(device, budget_bytes)
    return MemoryGuard(device, budget_bytes)
