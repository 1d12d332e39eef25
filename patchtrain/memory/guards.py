"""Which guard enforces a budget on which device. Knows nothing of models or training."""

from __future__ import annotations

import torch

from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.cuda import CudaGuard


def guard_for(
    device: torch.device, budget_bytes: int | None, precision: str = "fp32"
) -> MemoryGuard:
    """Return the guard that enforces `budget_bytes` on `device`.

    Args:
        precision: of the trial; on CUDA its kernels are loaded before memory is measured.

    Raises:
        ConfigError: a CUDA device that cannot hold the budget or does not have the precision, or a
            budget below its context.
    """
    if device.type == "cuda":
        return CudaGuard(device, budget_bytes, precision)
    return MemoryGuard(device, budget_bytes)
