"""Versions of torch between which its kernels took other memory."""

from __future__ import annotations

import torch

BEFORE_2_14 = torch.__version__ < "2.14"
"""Measured with 2.11 and 2.12."""
