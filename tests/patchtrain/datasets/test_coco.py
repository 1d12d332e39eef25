from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from image_data import damage, error_of, grey_image, real, trial, write
from PIL import Image

from patchtrain.cli import main
from patchtrain.config import TrialConfig
from patchtrain.datasets import data_set, load_all, load_dataset, num_classes
from patchtrain.datasets.finding.coco_json import read_instances
from patchtrain.datasets.mosaics import place_in_cell
from patchtrain.datasets.targets.boxes import fit_boxes, unfit_boxes
from patchtrain.errors import DataError

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 17, "name": "dog"}]


def annotation(number: int, image: int, bbox=(5, 6, 10, 12), category: int = 3, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox), **more}


def instances(num_images: int = 2, annotations=None, categories=CATEGORIES) -> dict:
    images = [
        {"id": n, "file_name": f"{n:03}.jpg", "height": 40, "width": 60} for n in range(num_images)
    ]
    if annotations is None:
        annotations = [annotation(n + 1, n) for n in range(num_images)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(folder, **parts: dict):
    (folder / "annotations").mkdir(parents=True)
    for name, data in parts.items():
        text = json.dumps(data)
        (folder / "annotations" / f"instances_{name}.json").write_text(text)
        for image in data["images"]:
            write(folder / name / image["file_name"], grey_image(image["height"], image["width"]))
    return folder


@pytest.fixture
def published(tmp_path):
    return write_coco(tmp_path / "coco", train2017=instances(5), val2017=instances(3))


def config(folder, **settings):
    return trial("coco", folder, num_classes=2, **settings)


def test_parts_are_the_splits_and_classes_follow_ids_with_gaps(published):
    data = load_dataset(config(published))
    assert [e.image_id for e in data.val] == ["val_000", "val_001", "val_002"]
    assert len(data.train) == 5
    assert data.class_names == ("cat", "dog")
    assert data.category_numbers == (3, 17)
    example = data.train[0]
    assert example.target.objects.boxes.tolist() == [[5, 6, 15, 18]]
    assert example.target.areas.tolist() == [120]
    assert example.target.objects.labels.tolist() == [0]


def test_what_has_no_part_is_drawn_from_training_images(tmp_path):
    data = load_dataset(config(write_coco(tmp_path / "d", train=instances(10)), val_fraction=0.2))
    assert (len(data.train), len(data.val)) == (8, 2)
    flat = tmp_path / "flat"
    for number in range(10):
        write(flat / "images" / f"{number:03}.jpg", grey_image())
    (flat / "instances.json").write_text(json.dumps(instances(10)))
    data = load_dataset(config(flat))
    assert (len(data.train), len(data.val)) == (8, 2)
    assert data.val[0].image_id in {f"{n:03}" for n in range(10)}


def test_crowds_and_objects_to_be_ignored_are_kept_apart(tmp_path):
    annotations = [
        annotation(1, 0),
        annotation(2, 0, iscrowd=1),
        annotation(3, 0, ignore=1, category=17),
        annotation(4, 1, area=55.5),
    ]
    write_coco(tmp_path / "d", train=instances(2, annotations), val=instances(1))
    first, second = load_dataset(config(tmp_path / "d")).train
    assert first.target.objects.ignored.tolist() == [False, True, True]
    assert second.target.areas.tolist() == [55.5]


def test_categories_may_be_regions_to_be_ignored(tmp_path):
    annotations = [annotation(1, 0), annotation(2, 0, category=17)]
    write_coco(tmp_path / "d", train=instances(1, annotations))
    read = read_instances(
        tmp_path / "d" / "annotations" / "instances_train.json", ignored_names=frozenset({"dog"})
    )
    objects = read.images[0].annotation.objects
    assert [c.name for c in read.categories] == ["cat"]
    assert objects.labels.tolist() == [0, -1]
    assert objects.ignored.tolist() == [False, True]


def test_boxes_are_cut_to_the_image_and_those_without_area_left_out(tmp_path, caplog):
    boxes = [(-5, 30, 20, 30), (10, 10, 0, 8), (70, 10, 5, 5), (50, 0, 100, 100)]
    annotations = [annotation(n, 0, box) for n, box in enumerate(boxes)]
    write_coco(tmp_path / "d", train=instances(1, annotations), val=instances(1))
    with caplog.at_level(logging.WARNING):  # what is shown where nobody sets logging up
        (example,) = load_dataset(config(tmp_path / "d")).train
    assert example.target.objects.boxes.tolist() == [[0, 30, 15, 40], [50, 0, 60, 40]]
    assert "left out 2 boxes without area" in caplog.text
    assert "cut 2 that extend beyond it" in caplog.text


def test_images_without_objects_are_images_all_the_same(tmp_path):
    write_coco(tmp_path / "d", train=instances(3, []), val=instances(1))
    data = load_dataset(config(tmp_path / "d"))
    assert [len(e.target.objects) for e in data.train] == [0, 0, 0]
    assert data.train[0].read(64).target.objects.boxes.shape == (0, 4)


def changed(**changes):
    return {**instances(), **changes}


DAMAGED = [
    ("[]", "holds no object with images, annotations and categories"),
    ("{", "is not JSON"),
    ({"images": [], "annotations": []}, "has no list of categories"),
    (changed(categories=[]), "categories is empty"),
    (changed(categories=[{"name": "cat"}]), "categories has id None; give a whole number"),
    (changed(categories=[CATEGORIES[0]] * 2), "category id 3 is listed twice"),
    (
        changed(categories=CATEGORIES[:1]),
        "lists 1 categories, but num_classes=2; set num_classes=1",
    ),
    (changed(images=instances()["images"] * 2), "image id 0 is listed twice"),
    (changed(images=[{"id": 0, "height": 4, "width": 4}]), "image 0 has file_name None"),
    (changed(images=[{"id": 0, "file_name": 5, "height": 4}]), "image 0 has file_name 5"),
    (changed(images=[]), "images is empty"),
    (changed(images=[{"id": float("nan")}]), "images has id nan; give a whole number"),
    (
        changed(images=[{"id": 0, "file_name": "a", "height": float("inf"), "width": 4}]),
        "image 0 has height inf; give a whole number",
    ),
    (changed(images=[{"id": 0, "file_name": "a", "height": 4}]), "image 0 has width None"),
    (changed(annotations=[annotation(1, 0)] * 2), "annotation id 1 is listed twice"),
    (changed(annotations=[annotation(1, 99)]), "annotation 1 is of image_id 99, which"),
    (changed(annotations=[annotation(1, 0, category=1)]), "annotation 1 is of category_id 1"),
    (changed(annotations=[annotation(1, 0, (0, 0, -3, 5))]), "[0, 0, -3, 5], of negative size"),
    (changed(annotations=[annotation(1, 0, (0, 0, 3))]), "has bbox [0, 0, 3]; give four numbers"),
    (changed(annotations=[annotation(1, 0, (0, 0, 3, float("nan")))]), "give four numbers"),
    (changed(annotations=[annotation(1, 0, "abcd")]), "give four numbers"),
    (changed(annotations=[annotation(1, 0) | {"bbox": "1234"}]), "has bbox '1234'; give four"),
    (changed(annotations=[annotation(1, 0, [True] * 4)]), "give four numbers"),
    (changed(annotations=[annotation(1, 0, [1, 1, 10**400, 1])]), "give four numbers"),
    (changed(annotations=[annotation([1], 0)]), "annotations has id [1]; give a whole number"),
    (changed(annotations=[annotation(1, [0])]), "annotation 1 is of image_id [0], which"),
    (changed(annotations=[annotation(1, 0, category={})]), "annotation 1 is of category_id {}"),
    (changed(annotations=[annotation(1, 0, iscrowd="0")]), "has iscrowd '0'; give 0 or 1"),
    (changed(annotations=[annotation(1, 0, ignore=[0])]), "has ignore [0]; give 0 or 1"),
    (changed(annotations=[annotation(1, 0, area="wrong")]), "has area 'wrong'; give its area"),
    (changed(annotations=[annotation(1, 0, area=-5)]), "has area -5; give its area"),
    (changed(annotations=[annotation(1, 0, area=10**400)]), "give its area in square px"),
    ("[" * 200_000, "is not JSON"),
]


@pytest.mark.parametrize(("data", "message"), DAMAGED)
def test_damaged_annotations_are_errors(published, data, message):
    path = published / "annotations" / "instances_train2017.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    assert message in error_of(config(published))
    assert str(path) in error_of(config(published))


def test_both_files_must_have_the_same_categories(published):
    path = published / "annotations" / "instances_val2017.json"
    others = [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}]
    path.write_text(json.dumps(changed(categories=others, annotations=[])))
    assert "lists other categories than" in error_of(config(published))


def test_a_listed_image_that_is_missing_is_an_error_or_skipped(published):
    (published / "train2017" / "001.jpg").unlink()
    assert "001.jpg: is listed in" in error_of(config(published))
    assert len(load_dataset(config(published, skip_bad_images=True)).train) == 4


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_damaged_images_are_errors_or_skipped(published, kind):
    damage(kind, published / "train2017" / "001.jpg")
    assert "001.jpg" in error_of(config(published))
    data = load_dataset(config(published, skip_bad_images=True))
    assert (len(data.train), data.num_skipped) == (4, 1)


def test_an_image_of_another_size_than_annotated_is_an_error(published):
    write(published / "val2017" / "000.jpg", grey_image(41, 60))
    message = error_of(config(published))
    assert "000.jpg: is 41 x 60 px, but" in message
    assert "says 40 x 60 px;" in message


def test_folders_that_are_no_coco_are_errors(published, tmp_path):
    assert "has another layout" in error_of(config(write(tmp_path / "x" / "a.png",
                                                         grey_image()).parent))  # fmt: skip
    (published / "val2017").rename(published / "other")
    assert "its images are not in" in error_of(config(published))
    assert "is not a folder" in error_of(config(tmp_path / "nothing"))


def test_boxes_come_back_from_fitting_to_half_a_pixel():
    random = np.random.default_rng(0)
    for height, width, side in ((480, 640, 512), (640, 427, 128), (4096, 4096, 1024)):
        corners = random.uniform(0, [width, height], (50, 2, 2))
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        fitted = fit_boxes(boxes, height, width, side)
        assert fitted.min() >= 0 and fitted.max() <= side
        np.testing.assert_allclose(unfit_boxes(fitted, height, width, side), boxes, atol=1e-6)


# --- mosaics ---


def mosaic_config(folder, **settings):
    return trial("coco_mosaic", folder, num_classes=2, image_size=1024, patch_size=256, **settings)


def marked_images(folder, num: int, size=(40, 60)):
    """Write images with one object each, which is the only white in them."""
    (folder / "annotations").mkdir(parents=True)
    data = instances(num)
    for record, box in zip(data["images"], data["annotations"], strict=True):
        record["height"], record["width"] = size
        left, top, width, height = box["bbox"]
        pixels = grey_image(*size, value=20)
        pixels[top : top + height, left : left + width] = 255
        write(folder / "train" / record["file_name"].replace("jpg", "png"), pixels)
        record["file_name"] = record["file_name"].replace("jpg", "png")
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(data))
    return folder


def test_boxes_move_with_their_images(tmp_path):
    folder = marked_images(tmp_path / "d", 80)
    data = load_all(mosaic_config(folder))
    assert [e.image_id for e in data.test] == ["train_mosaic0000", "train_mosaic0001"]
    image, target, height, width = data.test[0].read(4096)
    assert (height, width, len(target.objects)) == (4096, 4096, 36)
    for left, top, right, bottom in target.objects.boxes.round().astype(int):
        assert (image[top:bottom, left:right] == 255).all()
        assert (image[top - 3 : top, left:right] == 20).all()
        assert (image[top:bottom, right : right + 3] == 20).all()


def test_images_larger_than_their_cell_are_made_smaller(tmp_path):
    folder = marked_images(tmp_path / "d", 36, size=(300, 1364))
    (example,) = load_all(mosaic_config(folder)).test
    image, target, *_ = example.read(4096)
    for left, top, right, bottom in target.objects.boxes:
        assert (right - left, bottom - top) == pytest.approx((5, 6), abs=0.1)
        middle = image[round((top + bottom) / 2), round((left + right) / 2)]
        assert middle.min() > 240


def test_an_image_of_a_mosaic_of_another_size_than_annotated_is_an_error(tmp_path):
    folder = marked_images(tmp_path / "d", 36)
    write(folder / "train" / "007.png", grey_image(60, 40))
    message = error_of(mosaic_config(folder))
    assert "007.png: is 60 x 40 px, but" in message
    assert "says 40 x 60 px;" in message


def test_mosaics_are_the_same_for_the_same_seed_alone(tmp_path):
    folder = marked_images(tmp_path / "d", 80)
    one, again, other = (
        load_all(mosaic_config(folder, mosaic_seed=seed)).test for seed in (0, 0, 1)
    )
    assert [e.image for e in one] == [e.image for e in again]
    assert [e.image for e in one] != [e.image for e in other]
    tiles = [tile.path for e in one for tile in e.image.tiles]
    assert len(set(tiles)) == 72


def test_few_images_make_one_mosaic(tmp_path):
    (example,) = load_all(mosaic_config(marked_images(tmp_path / "d", 5))).test
    assert len(example.image.tiles) == 5
    image = example.read(1024).image
    assert (image[-300:] == 255).all(), "blank where no image is"


def test_a_part_of_a_mosaic_is_that_part_of_the_whole(tmp_path):
    (example,) = load_all(mosaic_config(marked_images(tmp_path / "d", 36))).test
    with example.open() as source:
        whole = source.read((0, 0, 4096, 4096))
        np.testing.assert_array_equal(
            source.read((300, 1000, 900, 1100)), whole[300:1200, 1000:2100]
        )


def test_a_damaged_image_of_a_mosaic_is_named(tmp_path):
    folder = marked_images(tmp_path / "d", 36)
    (folder / "train" / "007.png").write_bytes(b"no image")
    assert "007.png: is not an image" in error_of(mosaic_config(folder))
    (folder / "train" / "007.png").unlink()
    assert "007.png: is listed in" in error_of(mosaic_config(folder))


def test_cells_lie_on_the_canvas_and_apart():
    boxes = [place_in_cell(number, 640, 480, 4096) for number in range(36)]
    taken = np.zeros((4096, 4096), np.uint8)
    for top, left, height, width in boxes:
        assert (height, width) == (640, 480)
        taken[top : top + height, left : left + width] += 1
    assert taken.max() == 1
    assert taken.sum() == 36 * 640 * 480


@pytest.mark.parametrize("dataset", ["coco", "coco-mosaic"])
def test_generated_mosaics_are_read_as_they_are(tmp_path, dataset):
    data_set("coco_mosaic").write_sample(tmp_path / "d", 5, 256, 0)
    settings = {"num_classes": 10, "image_size": 256}
    data = load_dataset(trial(dataset, tmp_path / "d", **settings))
    assert (len(data.train), len(data.val)) == (4, 1)
    image, target, height, width = data.val[0].read(256)
    assert (height, width) == (256, 256)
    assert len(target.objects) > 20
    assert set(target.objects.labels) <= set(range(10))
    assert data.class_names == tuple("0123456789")
    for left, top, right, bottom in target.objects.boxes.astype(int):
        patch = image[top:bottom, left:right].astype(int)
        assert np.ptp(patch.reshape(-1, 3), axis=0).max() > 60, "a digit stands out"


def test_without_a_folder_mosaics_are_generated():
    values = {"dataset": "coco_mosaic", "image_size": 256, "patch_size": 64}
    config = TrialConfig.from_mapping({**values, "sample_num_images": 5})
    data = load_dataset(config)
    assert data.is_sample
    assert num_classes(config) == len(data.class_names) == 10
    assert num_classes(TrialConfig.from_mapping({**values, "data_dir": "x"})) == 80


def test_real_images(tmp_path):
    folder = real("coco_subset")
    data = load_dataset(trial("coco", folder))
    assert (len(data.train), len(data.val)) == (216, 80)
    assert (len(data.class_names), data.category_numbers[-1]) == (80, 90)
    ignored = sum(e.target.objects.ignored.sum() for e in (*data.train, *data.val))
    assert ignored == 28
    mosaics = load_dataset(trial("coco_mosaic", folder))
    assert (len(mosaics.train), len(mosaics.val)) == (6, 2)


def test_annotations_of_other_tools_are_read():
    path = real("visdrone_ann_sample") / "visdrone2019-det-train-first50image.json"
    read = read_instances(path)
    assert (len(read.images), [c.number for c in read.categories]) == (50, [0, 1])
    assert sum(len(i.annotation.objects) for i in read.images) == 3326


def test_missing_annotations_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no\.json: cannot be read"):
        read_instances(tmp_path / "no.json")


def test_mosaics_that_were_written_are_those_that_are_put_together(tmp_path, capsys):
    folder = marked_images(tmp_path / "d", 80)
    assert main(["sample-data", "coco-mosaic", str(tmp_path / "m"), "--data", str(folder)]) == 0
    assert "2 mosaics in" in capsys.readouterr().out
    together, written = load_all(mosaic_config(folder)).test, load_all(
        mosaic_config(tmp_path / "m")
    ).test  # fmt: skip
    assert len(together) == len(written) == 2
    for one, other in zip(together, written, strict=True):
        image, target, *_ = one.read(1024)
        from_file, its_target, *_ = other.read(1024)
        assert np.abs(image.astype(int) - from_file).max() < 40, "more than JPEG loses"
        np.testing.assert_allclose(target.objects.boxes, its_target.objects.boxes, atol=1e-3)
        np.testing.assert_array_equal(one.target.objects.labels, other.target.objects.labels)
        np.testing.assert_allclose(one.target.areas, other.target.areas)
    assert main(["sample-data", "drive", str(tmp_path / "x"), "--data", str(folder)]) == 2
    assert "--data: drive is generated" in capsys.readouterr().err
    (folder / "train" / "007.png").unlink()
    assert main(["sample-data", "coco-mosaic", str(tmp_path / "y"), "--data", str(folder)]) == 2
    assert not (tmp_path / "y").exists()


# --- what other programs write ---


def _renamed(folder, change):
    """Return the data set in `folder` with annotations that `change` altered."""
    path = folder / "annotations" / "instances_train2017.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return folder


def test_ids_may_be_text_or_floats(published):
    def change(data):
        for record in data["annotations"]:
            record["image_id"] = str(record["image_id"])
            record["category_id"] = f"{record['category_id']}.0"
        for place, image in enumerate(data["images"]):
            image["id"] = float(image["id"]) if place % 2 else str(image["id"])

    before = load_dataset(config(published)).train
    after = load_dataset(config(_renamed(published, change))).train
    assert [e.target.number for e in after] == [e.target.number for e in before]
    for one, other in zip(after, before, strict=True):
        assert np.array_equal(one.target.objects.boxes, other.target.objects.boxes)
        assert np.array_equal(one.target.objects.labels, other.target.objects.labels)


@pytest.mark.parametrize("wrong", ["x", "1.5", True, None, "-1", [1]])
def test_ids_that_are_no_numbers_are_refused(published, wrong):
    _renamed(published, lambda data: data["annotations"][0].update(image_id=wrong))
    assert f"is of image_id {wrong!r}, which is not in images" in error_of(config(published))


def test_windows_paths_are_read(published):
    folder = published / "train2017" / "day 1"
    folder.mkdir()
    for image in (published / "train2017").glob("*.jpg"):
        image.rename(folder / image.name)

    def change(data):
        for image in data["images"]:
            image["file_name"] = "day 1\\" + image["file_name"]

    data = load_dataset(config(_renamed(published, change)))
    assert [e.image_id for e in data.train] == [f"train_day 1_{n:03}" for n in range(5)]
    assert [e.path.parent.name for e in data.train] == ["day 1"] * 5


def test_names_in_another_case_are_found_and_ambiguous_ones_named(published):
    folder = published / "train2017"
    (folder / "000.jpg").rename(folder / "000.JPG")
    (folder / "001.jpg").rename(folder / "001.JPG")
    (folder / "001.JPG").with_name("001.Jpg").write_bytes((folder / "001.JPG").read_bytes())
    message = error_of(config(published))
    assert "'001.jpg' and '001.JPG' and '001.Jpg' differ only in upper and lower case" in message
    (folder / "001.Jpg").unlink()
    assert [e.path.name for e in load_dataset(config(published)).train[:2]] == [
        "000.JPG",
        "001.JPG",
    ]


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.5, 0.5), (0, 0.5, 1, 0.5)])
def test_boxes_as_shares_of_the_image_are_named(tmp_path, box):
    annotations = [annotation(n, 0, box) for n in range(3)]
    write_coco(tmp_path / "d", train=instances(1, annotations), val=instances(1))
    message = error_of(config(tmp_path / "d"))
    assert "no number in the 3 boxes is above 1" in message
    assert "multiply by the image's size" in message


def test_boxes_of_one_pixel_are_boxes(tmp_path):
    write_coco(
        tmp_path / "d", train=instances(1, [annotation(1, 0, (0, 0, 1, 1))]), val=instances(1)
    )
    assert load_dataset(config(tmp_path / "d")).train[0].target.objects.boxes.tolist() == [
        [0, 0, 1, 1]
    ]


def test_corners_instead_of_sizes_are_named(tmp_path):
    corners = [(5, 5, 20, 20), (30, 10, 55, 38), (10, 20, 59, 39), (1, 2, 8, 9)]
    annotations = [annotation(n, 0, box) for n, box in enumerate(corners)]
    write_coco(tmp_path / "d", train=instances(1, annotations), val=instances(1))
    message = error_of(config(tmp_path / "d"))
    assert "2 of 4 boxes reach out of their image" in message
    assert "instead of right and bottom" in message


@pytest.mark.parametrize("dataset", ["coco", "coco_mosaic"])
@pytest.mark.parametrize("tag", [2, 3, 6, 8])
def test_images_with_boxes_that_viewers_turn_are_refused(tmp_path, dataset, tag):
    write_coco(tmp_path / "d", train2017=instances(36), val2017=instances(36))
    exif = Image.Exif()
    exif[274] = tag
    turned = tmp_path / "d" / "train2017" / "007.jpg"
    Image.fromarray(grey_image(40, 60)).save(turned, exif=exif)
    message = error_of(trial(dataset, tmp_path / "d", num_classes=2))
    assert f"007.jpg: has the orientation tag {tag}" in message
