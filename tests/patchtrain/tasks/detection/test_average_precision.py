from __future__ import annotations

import json

import numpy as np
import pytest
from image_data import real

from patchtrain.datasets.finding.coco_json import read_instances
from patchtrain.datasets.targets.boxes import (
    ANY_CLASS,
    Annotation,
    FittedObjects,
    Objects,
    fit_boxes,
)
from patchtrain.tasks.detection.average_precision import Found, average_precision
from patchtrain.tasks.detection.metrics import Detection


def objects(boxes, labels=None, ignored=None) -> Objects:
    num = len(boxes)
    return Objects(
        np.array(boxes, np.float32).reshape(num, 4),
        np.array(labels or [0] * num, np.int64),
        np.array(ignored or [False] * num, bool),
    )


def found(truth: Objects, *detections: tuple[float, ...]) -> Found:
    areas = np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1)
    return Found(truth, areas, np.array(detections, np.float32).reshape(-1, 6))


BOXES = [(10, 10, 20, 20), (50, 50, 100, 100), (100, 0, 400, 300)]


def test_what_was_found_exactly_has_an_ap_of_one():
    image = found(objects(BOXES), *[(*box, 0.9, 0) for box in BOXES])
    metrics = average_precision([image], 1, "coco", 100)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert list(metrics) == ["ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar"]


def test_sizes_that_do_not_occur_have_no_ap():
    image = found(objects(BOXES[:1]), (*BOXES[0], 0.9, 0))
    metrics = average_precision([image], 3, "coco", 100)
    assert metrics["ap"] == metrics["ap_s"] == pytest.approx(1)
    assert metrics["ap_m"] is None and metrics["ap_l"] is None
    by_soda = average_precision([image], 3, "soda", 100)
    assert by_soda["ap_es"] == pytest.approx(1)
    assert by_soda["ap_rs"] is None and by_soda["ap_n"] is None


def test_nothing_found_and_nothing_there():
    assert average_precision([found(objects(BOXES))], 2, "coco", 100)["ap"] == 0
    nothing = found(objects([]))
    assert set(average_precision([nothing], 2, "coco", 100).values()) == {None}
    alarm = found(objects([]), (0, 0, 9, 9, 0.9, 0))
    assert average_precision([alarm], 2, "coco", 100)["ap"] is None


@pytest.mark.parametrize("label", [0, ANY_CLASS])
def test_detections_in_ignored_regions_count_neither_for_nor_against(label):
    truth = objects([BOXES[0], (200, 200, 400, 400)], [0, label], [False, True])
    right = (*BOXES[0], 0.5, 0)
    inside = [(210 + 20 * i, 210, 225 + 20 * i, 230, 0.9, 0) for i in range(5)]
    inside_ap = average_precision([found(truth, right, *inside)], 2, "coco", 100)["ap"]
    assert inside_ap == pytest.approx(1)
    outside = (600, 600, 620, 620, 0.9, 0)
    assert average_precision([found(truth, right, outside)], 2, "coco", 100)["ap"] < 0.6


def test_more_objects_than_coco_counts_are_counted_where_it_is_asked_for():
    boxes = [(20 * (i % 50), 20 * (i // 50), 20 * (i % 50) + 10, 20 * (i // 50) + 10)
             for i in range(1050)]  # fmt: skip
    image = found(objects(boxes), *[(*box, 0.9, 0) for box in boxes[:150]])
    assert average_precision([image], 1, "coco", 1000)["ar"] == pytest.approx(150 / 1050)
    assert average_precision([image], 1, "coco", 100)["ar"] == pytest.approx(100 / 1050)


def test_the_published_example_has_its_published_figures():
    folder = real("cocoapi_eval")
    instances = read_instances(folder / "instances_val2014_100.json")
    label_of = {category.number: place for place, category in enumerate(instances.categories)}
    by_image: dict[int, list[list[float]]] = {}
    for result in json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text()):
        left, top, width, height = result["bbox"]
        box = [left, top, left + width, top + height]
        row = [*box, result["score"], label_of[result["category_id"]]]
        by_image.setdefault(result["image_id"], []).append(row)
    images = []
    for image in instances.images:
        own = image.annotation
        rows = np.array(by_image.get(own.number, []), np.float32).reshape(-1, 6)
        images.append(Found(own.objects, own.areas, rows))
    metrics = average_precision(images, 80, "coco", 100)
    rounded = [round(metrics[name], 3) for name in ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")]
    assert rounded == [0.505, 0.697, 0.573, 0.586, 0.519, 0.501]


def test_a_task_measures_in_the_px_of_the_images_own_size():
    own = Annotation(objects([(100, 40, 160, 100)]), np.array([3600.0]), 300, 600, None)
    fitted = FittedObjects(own.objects.moved(fit_boxes(own.objects.boxes, 300, 600, 128)), own)
    outputs = np.zeros((1, 5, 6), np.float32)
    outputs[0, 0] = [*fitted.objects.boxes[0], 0.8, 0]
    task = Detection(1, image_size=128, area_ranges="coco", max_detections=5)
    (image,) = task.score(outputs, [fitted])
    np.testing.assert_allclose(image.detections[0, :4], [100, 40, 160, 100], atol=1e-4)
    metrics = task.metrics([image])
    assert metrics["ap"] == metrics["ap_m"] == pytest.approx(1)
    assert metrics["ap_s"] is None
