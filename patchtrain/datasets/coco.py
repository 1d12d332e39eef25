"""Objects in the layout of COCO.

`annotations/instances_train2017.json` with the images in `train2017/`, the same for val and test;
the annotations may lie next to the images instead, and the names may end differently
(`instances_train.json`, `train/`). Or `instances.json` with `images/`. The image_id is
`train_000000000009`: split, and name of the file without suffix. The parts that exist are the
splits; missing ones are drawn from train.
"""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.finding.coco_parts import Part, list_parts
from patchtrain.datasets.finding.folders import check_data_dir, is_folder, names_in, other_layout
from patchtrain.datasets.finding.listing import SPLITS, Listing
from patchtrain.errors import DataError

_NUM_CLASSES = 80
_NUM_CLASSES_OF_SAMPLE = 10

_LAYOUT = (
    "annotations/instances_train2017.json with the images in train2017/, or instances.json with "
    "images/"
)


class Coco(DataSet):
    """Any objects, annotated as in COCO."""

    layout = _LAYOUT

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return numbered names; the annotations have the real ones."""
        default = _NUM_CLASSES_OF_SAMPLE if config.data_dir is None else _NUM_CLASSES
        return tuple(f"category {number + 1}" for number in range(config.num_classes or default))

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images of all parts in `data_dir`."""
        return list_parts(find_parts(data_dir), len(self.class_names(config)))


def find_parts(data_dir: Path) -> list[Part]:
    """Return the parts of the data set in `data_dir`, at least one.

    Raises:
        DataError: there are none, or a file of annotations without a folder of images.
    """
    check_data_dir(data_dir, _LAYOUT)
    parts = [
        part
        for folder in (data_dir / "annotations", data_dir)
        if is_folder(folder)
        for part in _parts_in(folder, data_dir)
    ]
    taken = [part.split for part in parts]
    if len(set(taken)) < len(taken):
        names = ", ".join(part.annotations.name for part in parts)
        raise DataError(f"{data_dir}: has two files of one split ({names}); remove one of them")
    if not parts and (data_dir / "instances.json").is_file():
        return [Part(None, data_dir / "instances.json", data_dir / "images")]
    if not parts:
        raise other_layout(data_dir, _LAYOUT)
    return parts


def _parts_in(folder: Path, data_dir: Path) -> list[Part]:
    """Return the parts whose annotations lie in `folder`."""
    parts = []
    for name in names_in(folder, _LAYOUT):
        ending = name.removesuffix(".json").removeprefix("instances_")
        split = next((split for split in SPLITS if ending.startswith(split)), None)
        if name != f"instances_{ending}.json" or split is None:
            continue
        places = [data_dir / ending, data_dir / "images" / ending, data_dir / "images"]
        images = next((place for place in places if is_folder(place)), None)
        if images is None:
            raise DataError(
                f"{folder / name}: its images are not in {places[0]}; expected {_LAYOUT}; put them "
                "there"
            )
        parts.append(Part(split, folder / name, images))
    return parts
