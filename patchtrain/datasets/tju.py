"""The pedestrians in traffic of TJU-DHD (Pang et al.), in the published layout.

`dhd_pedestrian/ped_traffic/annotations/dhd_pedestrian_traffic_train.json` and `..._val.json`,
written as in COCO, and the images in `dhd_traffic/images/train/` and `val/`. The annotations may
lie elsewhere below `data_dir`, and the images in a folder `images` next to them. Pedestrians marked
`ignore` are ignored.
"""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.finding.coco_parts import Part, list_parts
from patchtrain.datasets.finding.folders import check_data_dir, is_folder, other_layout
from patchtrain.datasets.finding.listing import SPLITS, Listing
from patchtrain.errors import DataError

_FILE = "dhd_pedestrian_traffic_{}.json"
_IGNORED_NAMES = frozenset({"ignore"})

_LAYOUT = (
    "TJU-DHD's dhd_pedestrian/ped_traffic/annotations/dhd_pedestrian_traffic_train.json (and val) "
    "with the images in dhd_traffic/images/train/"
)


class Tju(DataSet):
    """The pedestrians of TJU-DHD."""

    layout = _LAYOUT

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return the one class, or as many numbered names as the configuration asks for."""
        if config.num_classes in (None, 1):
            return ("pedestrian",)
        return tuple(f"category {number}" for number in range(1, config.num_classes + 1))

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images of all parts in `data_dir`."""
        check_data_dir(data_dir, _LAYOUT)
        parts = []
        for split in SPLITS:
            found = sorted(data_dir.rglob(_FILE.format(split)))
            if len(found) > 1:
                raise DataError(f"{data_dir}: has {found[0]} and {found[1]}; remove one of them")
            if found:
                parts.append(Part(split, found[0], _images(data_dir, split)))
        if not parts:
            raise other_layout(data_dir, _LAYOUT)
        return list_parts(parts, len(self.class_names(config)), ignored_names=_IGNORED_NAMES)

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated mosaics of handwritten digits."""
        from patchtrain.datasets.samples import tju

        tju.write_sample(out, num_images, image_size, seed)


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
            f"{data_dir}: the images of {split} are not in {places[0]}; expected {_LAYOUT}; put "
            "them there"
        )
    return found
