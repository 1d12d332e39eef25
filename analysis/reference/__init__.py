"""The paper's published results as data. Knows nothing of this project's runs.

Typed from the tables I to VIII of the paper "Resource Efficient Perception for Vision Systems", one
CSV a table, in the paper's units (percent, GB, millions) and with its labels; `tables.csv` says
where each table is. Pages are of the six-page text. GB is 10^9 bytes. The rows of rival methods
are the paper's own reproductions (*) or taken from others (dagger); a double dagger is without
the global patch. An empty cell is a value that the paper does not give.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

RAW_METRICS = ("plr",)
"""Metrics that the tables give as they are; the others are in percent."""

METRICS = (
    "accuracy",
    "f1",
    "iou",
    "balanced_accuracy",
    "plr",
    "nlr",
    "ap",
    "ap50",
    "ap75",
    "ap_s",
    "ap_m",
    "ap_l",
)


@dataclass(frozen=True, kw_only=True)
class ReferencePoint:
    """One row of a table of the paper."""

    table: str
    """Roman number."""
    page: int
    section: str
    task: str
    dataset: str
    """As `TrialConfig.dataset` names it."""
    label: str
    """The row's name in the paper."""
    method: str | None
    """As `TrialConfig.method` names it; None for networks of other kinds."""
    backbone: str | None
    image_height: int | None
    """Pixels of the image that is trained on; for `downsampled`, where the table has only one size,
    of the image before it is resized."""
    image_width: int | None
    patch_size: int | None
    sampling_rate: float | None
    inner_iterations: int | None
    batch_size: int | None
    budget_bytes: int | None
    peak_bytes: int | None
    """The paper's `GB(peak)`; the kind of peak is not stated there."""
    ram_bytes: int | None
    num_parameters: int | None
    metrics: Mapping[str, float]
    """By our names, as fractions; `plr` as the paper gives it."""

    @property
    def size_text(self) -> str:
        """The image's size for people."""
        if self.image_height is None:
            return "image size not stated"
        if self.image_height == self.image_width:
            return f"image {self.image_height} px"
        return f"image {self.image_height} x {self.image_width} px"

    @property
    def source(self) -> str:
        """Where in the paper it stands."""
        return f"the paper, Table {self.table}, page {self.page}"


def load_reference(dataset: str | None) -> tuple[ReferencePoint, ...]:
    """Return the paper's results on `dataset`; none where the paper did not use it."""
    return tuple(point for point in load_tables() if point.dataset == dataset)


@lru_cache(maxsize=1)
def load_tables() -> tuple[ReferencePoint, ...]:
    """Return every row of the paper's tables, in their order."""
    return tuple(
        _point(table, row) for table in _rows("tables") for row in _rows(f"table_{table['table']}")
    )


def _rows(name: str) -> list[dict[str, str]]:
    text = files(__name__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _point(table: Mapping[str, str], row: Mapping[str, str]) -> ReferencePoint:
    height, _, width = row["image_size"].partition("x")
    return ReferencePoint(
        table=table["table"],
        page=int(table["page"]),
        section=table["section"],
        task=table["task"],
        dataset=table["dataset"],
        label=row["label"],
        method=row["method"] or None,
        backbone=row.get("backbone") or None,
        image_height=int(height) if height else None,
        image_width=int(width or height) if height else None,
        patch_size=_whole(row.get("patch_size")),
        sampling_rate=_share(row.get("sampling_rate")),
        inner_iterations=_whole(row.get("inner_iterations")),
        batch_size=_whole(row.get("batch_size")),
        budget_bytes=_scaled(row.get("budget_gb"), 10**9),
        peak_bytes=_scaled(row.get("peak_gb"), 10**9),
        ram_bytes=_scaled(row.get("ram_gb"), 10**9),
        num_parameters=_scaled(row.get("parameters_millions"), 10**6),
        metrics={
            name: float(text) if name in RAW_METRICS else round(float(text) / 100, 6)
            for name in METRICS
            if (text := row.get(name))
        },
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text else None


def _share(percent: str | None) -> float | None:
    return round(float(percent) / 100, 6) if percent else None


def _scaled(text: str | None, unit: int) -> int | None:
    return round(float(text) * unit) if text else None
