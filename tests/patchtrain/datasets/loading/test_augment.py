import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from patchtrain.config import AUGMENTATIONS
from patchtrain.datasets.loading.augment import Augmentation
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects, Objects
from patchtrain.datasets.targets.masks import IGNORED

SIZE = 48


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Return a white image with a dark block off the middle, and the mask of the block."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[18:36, 10:20] = 1
    return np.where(mask[..., None] == 1, np.uint8([30, 60, 90]), np.uint8(255)), mask


def noise(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (SIZE, SIZE, 3), np.uint8),
        random.integers(0, 5, (SIZE, SIZE), np.uint8),
    )


@pytest.mark.parametrize("names", [("flip",), ("rotate",), ("flip", "rotate", "colour")])
def test_image_and_mask_move_together(names):
    image, mask = picture()
    moved = 0
    for number in range(12):
        changed, target = Augmentation(names, 0)(image, mask, str(number))
        valid = target != IGNORED
        dark = changed.astype(int).sum(axis=2) < 400
        overlap = np.sum(dark & (target == 1)) / np.sum((dark | (target == 1)) & valid)
        assert overlap > 0.85
        moved += not np.array_equal(target, mask)
    assert moved >= 6


def test_flips_happen_in_half_the_images_each():
    image, mask = noise()
    seen = []
    for number in range(200):
        changed, target = Augmentation(("flip",), 0)(image, mask, str(number))
        seen.append(
            next(
                (left_right, top_bottom)
                for left_right in (1, -1)
                for top_bottom in (1, -1)
                if np.array_equal(changed, image[::top_bottom, ::left_right])
                and np.array_equal(target, mask[::top_bottom, ::left_right])
            )
        )
    assert min(seen.count(kind) for kind in set(seen)) > 30
    assert len(set(seen)) == 4


def test_what_rotates_into_view_is_white_and_ignored():
    image, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    changed, target = Augmentation(("rotate",), 0)(image, mask, "a")
    assert set(np.unique(target)) == {0, IGNORED}
    corner = target == IGNORED
    assert 0.02 < corner.mean() < 0.25
    assert changed[corner].mean() > 200
    assert changed[~corner].mean() < 20


def test_masks_keep_their_classes():
    image, mask = noise()
    for number in range(5):
        _, target = Augmentation(AUGMENTATIONS, 3)(image, mask, str(number))
        assert target.dtype == np.uint8
        assert set(np.unique(target)) <= {0, 1, 2, 3, 4, IGNORED}


def test_colours_change_a_little_and_the_mask_does_not():
    image, mask = noise()
    changed, target = Augmentation(("colour",), 0)(image, mask, "a")
    assert np.array_equal(target, mask)
    assert 0 < np.abs(changed.astype(int) - image).mean() < 60


def test_the_same_seeds_and_image_give_the_same_whatever_came_before():
    first, second = noise(1), noise(2)
    augment = Augmentation(AUGMENTATIONS, 7, 1)
    expected = augment(*first, "a")
    augment(*second, "b")
    for again in (augment, Augmentation(AUGMENTATIONS[::-1], 7, 1)):
        for value, wanted in zip(again(*first, "a"), expected, strict=True):
            assert np.array_equal(value, wanted)


@pytest.mark.parametrize("seeds, image_id", [((7, 2), "a"), ((8, 1), "a"), ((7, 1), "b")])
def test_other_seeds_or_another_image_give_something_else(seeds, image_id):
    expected, _ = Augmentation(("rotate",), 7, 1)(*noise(), "a")
    assert not np.array_equal(Augmentation(("rotate",), *seeds)(*noise(), image_id)[0], expected)


def test_another_process_gives_the_same():
    code = (
        "import numpy as np, hashlib\n"
        "from patchtrain.datasets.loading.augment import Augmentation\n"
        "image = np.arange(3 * 32 * 32, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)\n"
        "out, _ = Augmentation(('flip', 'rotate'), 1, 2)(image, 3, 'é 1')\n"
        "print(hashlib.sha256(out.tobytes()).hexdigest())"
    )
    local: dict[str, object] = {}
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    ]
    exec(code.replace("print", "result = str"), local)
    assert printed == [local["result"]]


def test_torchs_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    expected, _ = Augmentation(AUGMENTATIONS, 0)(*noise(), "a")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert np.array_equal(Augmentation(AUGMENTATIONS, 0)(*noise(), "a")[0], expected)


def test_what_was_given_is_not_changed():
    image, mask = noise()
    Augmentation(AUGMENTATIONS, 0)(image, mask, "a")
    assert np.array_equal(image, noise()[0])
    assert np.array_equal(mask, noise()[1])


def test_class_targets_stay():
    image, _ = noise()
    changed, target = Augmentation(AUGMENTATIONS, 0)(image, 4, "a")
    assert target == 4
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous


def test_no_changes_give_the_same_image():
    image, mask = noise()
    changed, target = Augmentation((), 0)(image, mask, "a")
    assert np.array_equal(changed, image)
    assert np.array_equal(target, mask)


def test_boxes_move_with_what_they_are_around():
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:20, 30:50] = 200
    box = np.array([[30, 10, 50, 20]], np.float32)
    objects = Objects(box, np.array([3]), np.array([False]))
    target = FittedObjects(objects, Annotation(objects, np.array([200.0]), 64, 64, Path("a")))
    places = set()
    for number in range(12):
        changed, moved = Augmentation(("flip", "colour"), 0)(image, target, f"image {number}")
        left, top, right, bottom = moved.objects.boxes[0].astype(int)
        assert changed[top:bottom, left:right].min() > 100
        outside = changed.copy()
        outside[top:bottom, left:right] = 0
        assert outside.max() < 50
        assert moved.objects.labels.tolist() == [3]
        places.add((left, top))
    assert len(places) == 4
    np.testing.assert_array_equal(target.objects.boxes, box)
