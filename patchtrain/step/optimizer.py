"""AdamW with a choice of kernels, and loss scaling for fp16.

Knows nothing of networks, methods or schedules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from patchtrain.config import TrialConfig


def build_optimizer(config: TrialConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
    """Return AdamW for `parameters` with the kernel that `config.optimizer_kernel` names.

    `auto` is `fused`: one kernel that reads and writes each value once and holds no temporaries.
    `loop` holds temporaries for one parameter at a time, `foreach` for all at once.
    """
    kernel = "fused" if config.optimizer_kernel == "auto" else config.optimizer_kernel
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=kernel == "fused",
        foreach=kernel == "foreach",
    )


class LossScaler(torch.amp.GradScaler):
    """Scales the loss so that small gradients survive in fp16, and skips steps whose gradients
    overflowed (Micikevicius et al. 2018). Does nothing unless `enabled`.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        super().__init__(device.type, enabled=enabled)

    def _maybe_opt_step(
        self, optimizer: torch.optim.Optimizer, optimizer_state: Any, *args: Any, **kwargs: Any
    ) -> float | None:
        """Step unless gradients overflowed; in a dry run, which has no values to tell, step."""
        found = optimizer_state["found_inf_per_device"].values()
        if any(isinstance(value, FakeTensor) for value in found):
            return optimizer.step(*args, **kwargs)
        return super()._maybe_opt_step(optimizer, optimizer_state, *args, **kwargs)
