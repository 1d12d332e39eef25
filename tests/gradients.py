"""How far two gradients lie apart."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(one: list[Tensor], other: list[Tensor]) -> float:
    difference = torch.stack([(a - b).norm() for a, b in zip(one, other, strict=True)]).norm()
    return float(difference / torch.stack([b.norm() for b in other]).norm())
