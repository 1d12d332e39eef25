from __future__ import annotations

import numpy as np
from PIL import Image

from patchtrain.datasets.targets.boxes import ANY_CLASS, Objects
from patchtrain.tasks.detection.picture import FALSE, FOUND, IGNORED, MISSED, draw_boxes, judged

OBJECTS = Objects(
    np.array([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 99, 99]], np.float32),
    np.array([0, 1, ANY_CLASS]),
    np.array([False, False, True]),
)


def detections(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_what_is_found_missed_false_and_not_counted():
    found = detections(
        (1, 0, 10, 10, 0.9, 0),  # finds the first
        (0, 0, 10, 10, 0.8, 0),  # it is found already
        (20, 20, 40, 40, 0.7, 0),  # of the wrong class
        (65, 65, 75, 75, 0.6, 1),  # in the ignored region
        (20, 35, 40, 55, 0.5, 1),  # too far off
    )
    of_objects, of_detections = judged(OBJECTS, found)
    assert of_objects == [FOUND, MISSED, IGNORED]
    assert of_detections == [FOUND, FALSE, FALSE, IGNORED, FALSE]


def test_nothing_detected_and_nothing_there():
    assert judged(OBJECTS, detections()) == ([MISSED, MISSED, IGNORED], [])
    assert judged(Objects.none(), detections((0, 0, 5, 5, 0.9, 0))) == ([], [FALSE])


def test_boxes_are_drawn_where_they_are(tmp_path):
    image = np.zeros((120, 600, 3), np.uint8)
    found = detections((20, 20, 40, 40, 0.9, 1), (80, 80, 90, 90, 0.1, 0))
    draw_boxes(image, OBJECTS, found, ["a", "b $x$"], tmp_path / "a.png")
    drawn = np.asarray(Image.open(tmp_path / "a.png"))
    assert drawn.shape == (144, 600, 3)
    assert tuple(drawn[30, 20]) == (0, 158, 115), "found"
    assert tuple(drawn[5, 0]) == (86, 180, 233), "missed"
    assert tuple(drawn[80, 60]) == (128, 128, 128), "not counted"
    assert not drawn[82:90, 82:90].any(), "not sure enough to be drawn"


def test_large_images_are_drawn_smaller(tmp_path):
    image = np.zeros((4096, 3000, 3), np.uint8)
    found = detections((2000, 2000, 3000, 4000, 0.9, 0))
    draw_boxes(image, OBJECTS, found, ["a", "b"], tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").size == (1500, 2048 + 24)
