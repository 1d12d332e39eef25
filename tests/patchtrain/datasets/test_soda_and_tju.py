"""SODA-D and TJU-DHD in their published layouts, from generated samples."""

from __future__ import annotations

import json

import pytest
from image_data import error_of, trial

from patchtrain.datasets import data_set, load_dataset, num_classes
from patchtrain.datasets.soda import CLASS_NAMES
from patchtrain.datasets.targets.boxes import ANY_CLASS

SIZE = {"image_size": 256, "patch_size": 64}


@pytest.fixture
def soda(tmp_path):
    data_set("soda").write_sample(tmp_path / "soda", 6, 256, 0)
    return tmp_path / "soda"


@pytest.fixture
def tju(tmp_path):
    data_set("tju").write_sample(tmp_path / "tju", 6, 256, 0)
    return tmp_path / "tju"


def test_soda_has_nine_classes_and_regions_to_be_ignored(soda):
    data = load_dataset(trial("soda", soda, **SIZE))
    assert data.class_names == CLASS_NAMES
    assert data.category_numbers == tuple(range(1, 10))
    assert (len(data.train), len(data.val)) == (4, 2)
    objects = data.train[0].target.objects
    assert (objects.ignored == (objects.labels == ANY_CLASS)).all()
    assert 0 < objects.ignored.sum() < len(objects)
    assert num_classes(trial("soda", soda, **SIZE)) == 9


def test_soda_is_found_with_flat_images_and_in_its_folder_of_raw_data(soda, tmp_path):
    for part in ("train", "val"):
        for image in (soda / "Images" / part).iterdir():
            image.rename(soda / "Images" / image.name)
        (soda / "Images" / part).rmdir()
    outer = tmp_path / "SODA-D"
    outer.mkdir()
    soda.rename(outer / "rawData")
    data = load_dataset(trial("soda", outer, **SIZE))
    assert (len(data.train), len(data.val)) == (4, 2)


def test_sodas_sizes_are_measured_apart_where_it_is_asked_for(soda):
    config = trial("soda", soda, area_ranges="soda", **SIZE)
    assert config.area_ranges == "soda"
    assert config.max_detections == 1000


def test_tju_has_one_class_and_ignores_what_is_marked(tju):
    data = load_dataset(trial("tju", tju, **SIZE))
    assert data.class_names == ("pedestrian",)
    assert (len(data.train), len(data.val)) == (4, 2)
    objects = data.train[0].target.objects
    assert set(objects.labels) == {0}
    assert 0 < objects.ignored.sum() < len(objects)


def test_tju_is_found_wherever_its_annotations_lie(tju):
    annotations = tju / "dhd_pedestrian" / "ped_traffic" / "annotations"
    (annotations / "dhd_pedestrian_traffic_val.json").rename(
        tju / "dhd_pedestrian_traffic_val.json"
    )
    assert len(load_dataset(trial("tju", tju, **SIZE)).val) == 2
    (tju / "dhd_traffic" / "images" / "val").rename(tju / "val")
    assert len(load_dataset(trial("tju", tju, **SIZE)).val) == 2
    (tju / "val").rename(tju / "away")
    assert "the images of val are not in" in error_of(trial("tju", tju, **SIZE))


def test_other_layouts_are_errors(soda, tju):
    assert "has another layout; expected SODA-D's" in error_of(trial("soda", tju, **SIZE))
    assert "has another layout; expected TJU-DHD's" in error_of(trial("tju", soda, **SIZE))


def test_other_categories_are_an_error(soda):
    path = soda / "Annotations" / "train.json"
    data = json.loads(path.read_text())
    data["categories"] = [c for c in data["categories"] if c["id"] != 3]
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] != 3]
    path.write_text(json.dumps(data))
    message = error_of(trial("soda", soda, **SIZE))
    assert "lists 8 categories, but num_classes=9; restore it from the original" in message
