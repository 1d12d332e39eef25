import json
from pathlib import Path

import numpy as np
import pytest
from image_data import grey_image, half_mask, write

from patchtrain.cache import cache_dir
from patchtrain.datasets import example as example_module
from patchtrain.datasets.example import Example
from patchtrain.datasets.loading.verify import check_images
from patchtrain.datasets.targets.masks import MaskFiles, MaskReader, NumberMask, ThresholdMask


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path / "cache"))


def examples_of(folder: Path, reader: MaskReader | None = None) -> list[Example]:
    """Return three examples with masks of classes 0 and 1 and fields of view."""
    examples = []
    for name in "abc":
        image = write(folder / "images" / f"{name}.png", grey_image())
        mask = write(folder / "masks" / f"{name}.png", half_mask(value=1))
        view = write(folder / "views" / f"{name}.png", half_mask(value=255))
        target = MaskFiles(mask, reader or ThresholdMask(), view)
        examples.append(Example(name, image, target))
    return examples


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """Return the images that were decoded, in a list that grows."""
    paths = []
    opens = example_module.open_image

    def note(path, *rest):
        paths.append(path)
        return opens(path)

    monkeypatch.setattr(example_module, "open_image", note)
    return paths


def test_good_images_are_decoded_once(tmp_path, decoded):
    examples = examples_of(tmp_path)
    assert check_images(examples, 64, 32).bad == {}
    assert sorted(decoded) == [example.path for example in examples]
    assert check_images(examples, 64, 32).bad == {}
    assert len(decoded) == 3
    check_images(examples, 128, 32)
    assert len(decoded) == 6


@pytest.mark.parametrize("number", [0, 1, 2], ids=["image", "mask", "field_of_view"])
def test_an_example_is_decoded_again_when_one_of_its_files_changed(tmp_path, decoded, number):
    examples = examples_of(tmp_path)
    check_images(examples, 64, 32)
    decoded.clear()
    path = examples[1].paths[number]
    path.write_bytes(path.read_bytes()[:60])
    bad = check_images(examples, 64, 32).bad
    assert list(bad) == ["b"]
    assert bad["b"].startswith(f"{path}: ")
    assert decoded == [examples[1].path]


def test_what_is_good_to_one_reader_is_decoded_again_for_another(tmp_path, decoded):
    for _ in range(2):
        assert check_images(examples_of(tmp_path, NumberMask(2)), 64, 32).bad == {}
        assert check_images(examples_of(tmp_path, NumberMask(3)), 64, 32).bad == {}
    assert list(check_images(examples_of(tmp_path, NumberMask(1)), 64, 32).bad) == ["a", "b", "c"]


def test_readers_in_turns_do_not_forget_each_other(tmp_path, decoded):
    examples = examples_of(tmp_path)
    others = [
        Example(e.image_id, e.path, MaskFiles(e.target.path, NumberMask(2))) for e in examples
    ]
    for _ in range(2):
        check_images(examples, 64, 32)
        check_images(others, 64, 32)
    assert len(decoded) == 6


def test_an_image_that_is_all_ignored_is_bad(tmp_path):
    examples = examples_of(tmp_path)
    view = examples[2].target.field_of_view
    write(view, half_mask(value=0))
    (reason,) = check_images(examples, 64, 32).bad.values()
    assert reason == (
        f"{examples[2].target.path} and {view}: leaves no pixel to learn from; correct it, or take "
        "the image out"
    )


def test_all_background_is_good(tmp_path):
    examples = examples_of(tmp_path)
    write(examples[0].target.path, half_mask(value=0))
    assert check_images(examples, 64, 32).bad == {}


def test_images_and_masks_of_two_sizes_are_bad(tmp_path):
    examples = examples_of(tmp_path)
    write(examples[0].path, grey_image(60, 40))
    assert "is 40 x 60 px, but" in check_images(examples, 64, 32).bad["a"]


def test_images_smaller_than_a_patch_are_bad_remembered_or_not(tmp_path):
    examples = examples_of(tmp_path)
    for _ in range(2):
        assert len(check_images(examples, 64, 48).bad) == 3
        assert check_images(examples, 64, 40).bad == {}


def test_classes_need_no_mask(tmp_path):
    image = write(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    assert check_images([Example("a", image, 3)], 64, 32).bad == {}
    (memory,) = (cache_dir() / "checked").iterdir()
    assert json.loads(memory.read_text())[str(image)][1:3] == [40, 40]
