"""SODA-D, small objects seen while driving (Cheng et al.), in its published layout.

`Annotations/train.json`, `val.json` and `test.json`, as COCO writes them, and the images in
`Images/` or `Images/train/` and so on; perhaps in a folder `rawData`. The cut `divData` is not
meant: cutting is what the methods do. Nine classes; `ignore` regions are ignored, whatever is in
them.
"""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.coco import Part, list_parts
from patchtrain.datasets.folders import find_root, is_folder
from patchtrain.datasets.listing import Listing
from patchtrain.datasets.split import SPLITS

CLASS_NAMES = (
    "people", "rider", "bicycle", "motor", "vehicle", "traffic-sign", "traffic-light",
    "traffic-camera", "warning-cone",
)  # fmt: skip

_IGNORED_NAMES = frozenset({"ignore"})

_LAYOUT = "SODA-D is Annotations/train.json, val.json and test.json with the images in Images/"


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes."""
    return CLASS_NAMES


def list_soda(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the images in `data_dir`.

    Raises:
        DataError: something is missing or inconsistent.
    """
    root = find_root(data_dir, _is_root, _LAYOUT)
    parts = []
    for split in SPLITS:
        annotations = root / "Annotations" / f"{split}.json"
        if annotations.is_file():
            own = root / "Images" / split
            parts.append(Part(split, annotations, own if is_folder(own) else root / "Images"))
    return list_parts(parts, len(CLASS_NAMES), is_fixed=True, ignored_names=_IGNORED_NAMES)


def _is_root(folder: Path) -> bool:
    return (folder / "Annotations" / "train.json").is_file() and is_folder(folder / "Images")
