from __future__ import annotations

import numpy as np

from patchtrain.commands.mask_figure import (
    FALSE,
    MISSED,
    OUTSIDE,
    RIGHT,
    WRONG,
    MaskPicture,
    difference,
    draw_masks,
)
from patchtrain.datasets.masks import IGNORED


def test_the_difference_of_two_classes_is_right_false_and_missed():
    truth = np.array([[1, 0, 1, 0, IGNORED]], np.uint8)
    predicted = np.array([[1, 1, 0, 0, 1]], np.uint8)
    parts = difference(truth, predicted, 2)
    assert {name: np.flatnonzero(where).tolist() for name, where in parts.items()} == {
        RIGHT: [0],
        FALSE: [1],
        MISSED: [2],
        OUTSIDE: [4],
    }


def test_the_difference_of_more_classes_is_right_or_wrong():
    truth = np.array([[1, 0, 3, IGNORED]], np.uint8)
    parts = difference(truth, np.array([[1, 1, 3, 1]], np.uint8), 4)
    assert {name: np.flatnonzero(where).tolist() for name, where in parts.items()} == {
        RIGHT: [0, 2],
        WRONG: [1],
        OUTSIDE: [3],
    }


def test_the_figure_is_drawn_for_one_image_and_for_many_classes(tmp_path):
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    masks = random.integers(0, 12, (2, 40, 40), dtype=np.uint8)
    draw_masks([MaskPicture("a $b$ <i>", image, *masks)], 12, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
