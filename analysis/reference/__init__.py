"""The paper's published results as data, one CSV a data set. Knows nothing of this project's runs.

Typed from the tables of the paper "Resource Efficient Perception for Vision Systems". GB is 10^9
bytes; accuracies are shares, not percent. The rows of rival methods are the paper's own
reproductions. An empty cell is a value that the paper does not give.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

DATASETS = ("panda", "ultramnist")


@dataclass(frozen=True, kw_only=True)
class ReferencePoint:
    """One row of a table of the paper."""

    table: str
    section: str
    method: str
    backbone: str
    image_size: int
    patch_size: int | None
    sampling_rate: float | None
    inner_iterations: int | None
    budget_bytes: int
    peak_bytes: int | None
    """The paper's `GB(peak)`; the kind of peak is not stated there."""
    metric_name: str
    metric: float


def load_reference(dataset: str | None) -> tuple[ReferencePoint, ...]:
    """Return the paper's results on `dataset`; none where the paper did not use it."""
    if dataset not in DATASETS:
        return ()
    text = files(__name__).joinpath(f"{dataset}.csv").read_text(encoding="utf-8")
    return tuple(_point(row) for row in csv.DictReader(text.splitlines()))


def _point(row: dict[str, str]) -> ReferencePoint:
    return ReferencePoint(
        table=row["table"],
        section=row["section"],
        method=row["method"],
        backbone=row["backbone"],
        image_size=int(row["image_size"]),
        patch_size=int(row["patch_size"]) if row["patch_size"] else None,
        sampling_rate=float(row["sampling_rate"]) if row["sampling_rate"] else None,
        inner_iterations=int(row["inner_iterations"]) if row["inner_iterations"] else None,
        budget_bytes=_gigabytes(row["budget_gb"]),
        peak_bytes=_gigabytes(row["peak_gb"]) if row["peak_gb"] else None,
        metric_name=row["metric_name"],
        metric=float(row["metric"]),
    )


def _gigabytes(text: str) -> int:
    return round(float(text) * 10**9)
