from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.tasks.segmentation.picture import (
    BACKGROUND,
    FALSE,
    MISSED,
    OUTSIDE,
    RIGHT,
    WRONG,
    MaskPicture,
    difference,
    draw_masks,
)


def test_the_difference_of_two_classes_is_right_false_and_missed():
    truth = np.array([[1, 0, 1, 0, IGNORED]], np.uint8)
    predicted = np.array([[1, 1, 0, 0, 1]], np.uint8)
    parts = difference(truth, predicted, 2)
    assert {name: np.flatnonzero(where).tolist() for name, where in parts.items()} == {
        BACKGROUND: [3],
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


@pytest.mark.parametrize("num_classes", [2, 7, 12, 40])
def test_the_figure_names_its_classes_and_differences(tmp_path, num_classes, monkeypatch):
    legends: list[list[str]] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: legends.extend(texts(figure)))
    names = [f"class $ {number}" for number in range(num_classes)]
    draw_masks([picture(num_classes)], names, tmp_path / "figure.png")
    classes, differences = legends
    assert classes[0] == ("classes" if num_classes < 17 else "classes (16 of 40)")
    assert classes[1:] == names[:16]
    right_and_wrong = [RIGHT, WRONG] if num_classes > 2 else [BACKGROUND, RIGHT, FALSE, MISSED]
    assert differences == ["difference", *right_and_wrong, OUTSIDE]


def test_the_figure_is_drawn_whatever_the_names_are(tmp_path):
    names = ["<b>", "$\\frac$", "bü " * 20]
    draw_masks([picture(3, "$\\frac$")], names, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def picture(num_classes: int, image_id: str = "a") -> MaskPicture:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    truth, predicted = random.integers(0, num_classes, (2, 40, 40), dtype=np.uint8)
    truth[0] = IGNORED
    return MaskPicture(image_id, image, truth, predicted)


def texts(figure: Figure) -> list[list[str]]:
    """Return title and entries of each legend."""
    return [
        [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]
        for legend in figure.legends
    ]
