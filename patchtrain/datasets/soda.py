"""SODA-D, small objects seen while driving (Cheng et al.), in the published layout.

`Annotations/train.json`, `val.json` and `test.json`, as in COCO, and the images in `Images/` or in
`Images/train/` and so on; all of it may lie in a folder such as `rawData`. The cut version
`divData` is not used: cutting is what the methods do. Nine classes; regions marked `ignore` are
ignored for all of them.
"""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.finding.coco_parts import Part, list_parts
from patchtrain.datasets.finding.folders import find_root, is_folder
from patchtrain.datasets.finding.listing import SPLITS, Listing

CLASS_NAMES = (
    "people", "rider", "bicycle", "motor", "vehicle", "traffic-sign", "traffic-light",
    "traffic-camera", "warning-cone",
)  # fmt: skip

_IGNORED_NAMES = frozenset({"ignore"})


class Soda(DataSet):
    """SODA-D."""

    layout = "SODA-D's Annotations/train.json, val.json and test.json with the images in Images/"

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return the nine published names."""
        return CLASS_NAMES

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images of all parts in `data_dir`."""
        root = find_root(data_dir, _is_root, self.layout)
        parts = []
        for split in SPLITS:
            annotations = root / "Annotations" / f"{split}.json"
            if annotations.is_file():
                own = root / "Images" / split
                parts.append(Part(split, annotations, own if is_folder(own) else root / "Images"))
        return list_parts(parts, len(CLASS_NAMES), is_fixed=True, ignored_names=_IGNORED_NAMES)

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated mosaics of handwritten digits."""
        from patchtrain.datasets.samples import soda

        soda.write_sample(out, num_images, image_size, seed, CLASS_NAMES)


def _is_root(folder: Path) -> bool:
    return (folder / "Annotations" / "train.json").is_file() and is_folder(folder / "Images")
