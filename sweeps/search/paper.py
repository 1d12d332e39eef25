"""The paper's configurations as points of a sweep's space. Knows nothing of studies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from sweeps.search.space import Space

_ROWS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "panda": (
        {"image_size": 512, "patch_size": 128, "sampling_rate": 0.20, "inner_iterations": 4},
        {"image_size": 2048, "patch_size": 128, "sampling_rate": 0.07, "inner_iterations": 11},
        {"image_size": 4096, "patch_size": 128, "sampling_rate": 0.07, "inner_iterations": 11},
        {"image_size": 4096, "patch_size": 256, "sampling_rate": 0.07, "inner_iterations": 11},
    ),
}
"""Data set -> rows of its table (PANDA: table I); the paper trains each with both methods."""

_SHARED: Mapping[str, Any] = {
    "fusion": "add",
    "fusion_scale": "none",
    "global_pass": "joint",
    "learning_rate": 1e-3,
    "precision": "fp32",
    "patch_microbatch": "none",
}
"""Settings that the paper's classifiers share; they count if a sweep varies them."""

_METHODS = ("local_global", "patchgd")

_BACKBONE = "resnet50"
"""Taken if the sweep varies the backbone over it; otherwise the sweep's own is."""


def paper_points(space: Space) -> list[dict[str, Any]]:
    """Return the paper's configurations at the image size of `space`, as draws from it.

    Raises:
        ConfigError: the paper has none at this image size, or none lies in the space.
    """
    base = space.base
    backbone = _BACKBONE if _BACKBONE in space.choices("backbone") else base.backbone
    points = []
    for row, method in itertools.product(_rows(base), _METHODS):
        full = {"backbone": backbone, **_SHARED, **row, "method": method}
        point = {name: full[name] for name in space.distributions}
        is_papers = all(
            name in space.distributions or getattr(base, name) == full[name]
            for name in (*row, "method")
        )
        if is_papers and space.contains(point) and point not in points:
            points.append(point)
    if not points:
        raise ConfigError(
            f"--include-paper-configs: none of the paper's configurations at image_size="
            f"{base.image_size} lies in the space of this sweep; widen it (--vary), or leave it out"
        )
    return points


def _rows(base: TrialConfig) -> list[Mapping[str, Any]]:
    """Return the rows of the paper for the data set and image size of `base`."""
    if base.dataset not in _ROWS:
        raise ConfigError(
            "--include-paper-configs: the paper gives no sampling rate and inner iterations for "
            f"dataset={base.dataset}; leave it out"
        )
    rows = [row for row in _ROWS[base.dataset] if row["image_size"] == base.image_size]
    if not rows:
        sizes = sorted({row["image_size"] for row in _ROWS[base.dataset]})
        raise ConfigError(
            f"--include-paper-configs: the paper has no {base.dataset} configuration at "
            f"image_size={base.image_size}; use --image-size {' or '.join(map(str, sizes))}, or "
            "leave it out"
        )
    return rows
