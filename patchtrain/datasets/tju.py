"""TJU-DHD's pedestrians in traffic (Pang et al.), in the published layout.

`dhd_pedestrian/ped_traffic/annotations/dhd_pedestrian_traffic_train.json` and `..._val.json`, as
COCO writes them, and the images in `dhd_traffic/images/train/` and `val/`. The annotations may lie
elsewhere below `data_dir`, and the images be in a folder `images` beside them. Pedestrians that
are marked `ignore` are ignored.
"""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.coco import Part, list_parts
from patchtrain.datasets.folders import check_data_dir, is_folder
from patchtrain.datasets.listing import Listing
from patchtrain.datasets.split import SPLITS
from patchtrain.errors import DataError

_FILE = "dhd_pedestrian_traffic_{}.json"
_IGNORED_NAMES = frozenset({"ignore"})

_LAYOUT = (
    "TJU-DHD's pedestrians are dhd_pedestrian/ped_traffic/annotations/"
    "dhd_pedestrian_traffic_train.json (and val) with the images in dhd_traffic/images/train/"
)


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes as the configuration has them."""
    if config.num_classes in (None, 1):
        return ("pedestrian",)
    return tuple(f"category {number}" for number in range(1, config.num_classes + 1))


def list_tju(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the images in `data_dir`.

    Raises:
        DataError: something is missing or inconsistent.
    """
    check_data_dir(data_dir, _LAYOUT)
    parts = []
    for split in SPLITS:
        found = sorted(data_dir.rglob(_FILE.format(split)))
        if len(found) > 1:
            raise DataError(f"{data_dir}: has {found[0]} and {found[1]}; remove one of them")
        if found:
            parts.append(Part(split, found[0], _images(data_dir, split)))
    if not parts:
        raise DataError(f"{data_dir}: has another layout; {_LAYOUT}; correct data_dir")
    return list_parts(parts, len(class_names(config)), ignored_names=_IGNORED_NAMES)


def _images(data_dir: Path, split: str) -> Path:
    places = [
        data_dir / "dhd_traffic" / "images" / split,
        data_dir / "dhd_traffic_trainval_images" / "dhd_traffic" / "images" / split,
        data_dir / "images" / split,
        data_dir / split,
        data_dir / "images",
    ]
    found = next((place for place in places if is_folder(place)), None)
    if found is None:
        raise DataError(
            f"{data_dir}: the images of {split} are not in {places[0]}; {_LAYOUT}; put them there"
        )
    return found
