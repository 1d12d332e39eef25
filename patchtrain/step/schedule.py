"""The learning rate: untuned linear warm-up, then linear decay (paper, IV; Ma & Yarats 2021)."""

from __future__ import annotations

MAX_WARMUP_SHARE = 0.2
"""Share of all steps; without it a short run would never leave the warm-up."""


def learning_rate_at(step: int, num_steps: int, peak: float, beta2: float) -> float:
    """Return the learning rate of optimizer step `step` (0 for the first) of `num_steps`.

    Rises linearly to `peak` over 2 / (1 - beta2) steps (2,000 for AdamW's 0.999; at most a fifth
    of all steps), then falls linearly, to reach 0 one step after the last.
    """
    warmup = max(1, min(round(2 / (1 - beta2)), int(MAX_WARMUP_SHARE * num_steps)))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.0, (num_steps - step) / max(1, num_steps - warmup))
