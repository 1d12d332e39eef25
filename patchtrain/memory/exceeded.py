"""`BudgetExceeded`: a trial held more than its budget. A result of the trial, not a crash."""

from __future__ import annotations

import torch


class BudgetExceeded(torch.OutOfMemoryError):
    """A trial held more memory than its budget.

    A subclass of torch's own out-of-memory error, so code that handles CUDA's handles ours.

    Attributes:
        budget_bytes: the budget that was in force.
        needed_bytes: at least this much was live when the budget was crossed.
        phase: the part of the step that crossed it (`fill`, `inner_iteration`, `validation`, ...).
    """

    def __init__(self, message: str, *, budget_bytes: int, needed_bytes: int, phase: str) -> None:
        super().__init__(message)
        self.budget_bytes = budget_bytes
        self.needed_bytes = needed_bytes
        self.phase = phase
