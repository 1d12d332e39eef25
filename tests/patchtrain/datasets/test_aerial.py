from pathlib import Path

import numpy as np
import pytest
from image_data import damage, error_of, grey_image, real, trial, write
from PIL import Image

from patchtrain.datasets import class_names, load_dataset, num_classes
from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.errors import ConfigError

NAMES = ("building", "land", "road", "vegetation", "water")
COLOURS = ("#3C1098", "#8429F6", "#6EC1E4", "#FEDD3A", "#E2A929", "#9B9B9B", "#000000")


def stripes() -> np.ndarray:
    """Return a mask of 40 x 70 px with a stripe of each colour."""
    colours = np.array([list(bytes.fromhex(text[1:])) for text in COLOURS], np.uint8)
    return np.repeat(np.broadcast_to(colours, (40, 7, 3)), 10, axis=1)


@pytest.fixture
def tiles(tmp_path) -> Path:
    """Return two tiles of six images."""
    folder = tmp_path / "Semantic segmentation dataset"
    for tile in ("Tile 1", "Tile 2"):
        for part in range(1, 7):
            write(folder / tile / "images" / f"image_part_{part:03}.jpg", grey_image(40, 70))
            write(folder / tile / "masks" / f"image_part_{part:03}.png", stripes())
    (folder / "classes.json").write_text("{}")
    return folder


def columns(classes: np.ndarray) -> list[int]:
    return classes[0, 5::10].tolist()


def test_images_of_all_tiles_are_split(tiles):
    data = load_dataset(trial("aerial", tiles, val_fraction=0.25, test_fraction=0.25))
    assert (len(data.train), len(data.val), len(data.test)) == (6, 3, 3)
    assert {e.image_id for e in data.train + data.val + data.test} == {
        f"tile{tile}_part{part:03}" for tile in (1, 2) for part in range(1, 7)
    }
    assert data.class_names == NAMES


def test_colours_are_classes_and_unlabeled_and_black_are_ignored(tiles):
    (example, *_) = load_dataset(trial("aerial", tiles)).train
    assert columns(example.target.read()) == [0, 1, 2, 3, 4, IGNORED, IGNORED]


def test_palettes_are_looked_up(tiles):
    for path in (tiles / "Tile 2" / "masks").iterdir():
        Image.open(path).quantize(7).save(path)
    data = load_dataset(trial("aerial", tiles))
    for example in data.train + data.val:
        assert columns(example.target.read()) == [0, 1, 2, 3, 4, IGNORED, IGNORED]


def test_a_foreground_makes_it_that_class_against_the_rest(tiles):
    config = trial("aerial", tiles, foreground="road")
    data = load_dataset(config)
    assert data.class_names == class_names(config) == ("background", "road")
    assert num_classes(config) == 2
    assert columns(data.train[0].target.read()) == [0, 0, 1, 0, 0, IGNORED, IGNORED]


def test_an_unknown_foreground_is_an_error_that_lists_the_classes(tiles):
    config = trial("aerial", tiles, foreground="Roads")
    for ask in (load_dataset, num_classes, class_names):
        with pytest.raises(ConfigError, match=r"foreground='Roads' .* use one of building, land, "):
            ask(config)


def test_classes_are_known_without_data():
    config = trial("aerial", Path("nowhere"))
    assert class_names(config) == NAMES
    assert num_classes(config) == 5


def test_the_tiles_may_lie_in_a_folder(tiles):
    assert load_dataset(trial("aerial", tiles.parent)).train == (
        load_dataset(trial("aerial", tiles)).train
    )


def test_odd_names_of_tiles_and_images_give_ids_that_are_file_names(tiles):
    (tiles / "Tile 2").rename(tiles / "Übersicht {x} 3")
    image = tiles / "Tile 1" / "images" / "image_part_001.jpg"
    image.rename(image.with_name("Image Part é.JPG"))
    mask = tiles / "Tile 1" / "masks" / "image_part_001.png"
    mask.rename(mask.with_name("image_part_é.png"))
    data = load_dataset(trial("aerial", tiles))
    ids = {example.image_id for example in data.train + data.val}
    assert {"übersicht{x}3_part002", "tile1_parté"} <= ids


def test_tiles_that_give_the_same_ids_are_an_error(tiles):
    (tiles / "Tile 2").rename(tiles / "tile_1")
    message = error_of(trial("aerial", tiles))
    assert "image_id 'tile1_part001' is also that of " in message


def test_images_that_give_the_same_id_are_an_error(tiles):
    folder = tiles / "Tile 1" / "images"
    write(folder / "image_part_001.png", grey_image())
    message = error_of(trial("aerial", tiles))
    assert f"{folder}: 'image_part_001.jpg' and 'image_part_001.png' both stand for" in message


def test_a_colour_that_is_no_class_is_an_error(tiles):
    pixels = stripes()
    pixels[3, 4:6] = (0xE2, 0xA9, 0x2A)
    path = write(tiles / "Tile 1" / "masks" / "image_part_003.png", pixels)
    message = error_of(trial("aerial", tiles))
    assert message.startswith(f"{path}: has the colour #E2A92A in 2 px, which stands for no class")


def test_a_tile_without_masks_is_an_error(tiles):
    (tiles / "Tile 2" / "masks").rename(tiles / "Tile 2" / "elsewhere")
    assert f"{tiles / 'Tile 2/masks'}: does not exist" in error_of(trial("aerial", tiles))


def test_an_image_that_is_all_unlabeled_is_an_error_or_skipped(tiles):
    pixels = np.full((40, 70, 3), 0x9B, np.uint8)
    path = write(tiles / "Tile 1" / "masks" / "image_part_003.png", pixels)
    assert f"{path}: leaves no pixel to learn from" in error_of(trial("aerial", tiles))
    assert load_dataset(trial("aerial", tiles, skip_bad_images=True)).num_skipped == 1


def test_a_damaged_mask_is_an_error(tiles):
    path = tiles / "Tile 1" / "masks" / "image_part_003.png"
    damage("truncated", path)
    assert error_of(trial("aerial", tiles)).startswith(f"{path}: cannot be decoded")


def test_no_tiles_are_an_error_that_tells_the_layout(tmp_path):
    assert "expected folders such as 'Tile 1'" in error_of(trial("aerial", tmp_path))


def test_the_real_data_is_read_as_its_description_says():
    data = load_dataset(trial("aerial", real("dubai_aerial"), test_fraction=0.1))
    everything = data.train + data.val + data.test
    assert (len(data.train), len(data.val), len(data.test)) == (51, 14, 7)
    assert {e.image_id for e in everything} == {
        f"tile{tile}_part{part:03}" for tile in range(1, 9) for part in range(1, 10)
    }
    counts = sum(np.bincount(e.target.read().ravel(), minlength=256) for e in everything)
    shares = dict(
        zip((*NAMES, "ignored"), (counts / counts.sum())[[0, 1, 2, 3, 4, 255]], strict=True)
    )
    described = {
        "building": 0.133, "land": 0.524, "road": 0.094, "vegetation": 0.103, "water": 0.136,
        "ignored": 0.005 + 0.0056,
    }  # fmt: skip
    assert shares == pytest.approx(described, abs=0.001)
