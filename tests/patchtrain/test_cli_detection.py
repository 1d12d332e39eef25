"""The commands on detection, as a person runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from patchtrain.cli import main
from patchtrain.record import read_json, read_rows

SETTINGS = {
    "dataset": "coco_mosaic",
    "num_classes": 10,
    "backbone": "test_resnet",
    "latent_channels": 64,
    "image_size": 256,
    "patch_size": 64,
    "inner_iterations": 1,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "epochs": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "mosaics"
    arguments = ["--num-images", "6", "--image-size", "320"]
    assert main(["sample-data", "coco-mosaic", str(folder), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "trial.yaml").write_text(yaml.safe_dump({"data_dir": str(data_dir), **SETTINGS}))
    assert main(["train", str(folder / "trial.yaml"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_the_record_says_what_was_trained_and_held(trained):
    record = read_json(trained / "record.json")
    assert (record.status.value, record.task, record.dataset) == (
        "completed", "detection", "coco_mosaic"
    )  # fmt: skip
    assert (record.backbone, record.aggregator, record.fusion, record.layout) == (
        "test_resnet", "conv1x1", "concat", "tile"
    )  # fmt: skip
    assert record.metric_name == "ap"
    assert record.metric == record.metrics["ap"]
    assert set(record.metrics) == {"ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar"}
    assert record.predicted_peak_bytes == record.peak_allocated_bytes
    (epoch,) = read_rows(trained / "epochs.parquet")
    assert epoch["metric"] == record.metric


def test_evaluate_writes_results_that_pycocotools_reads_and_pictures(trained, data_dir, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    record = read_json(trained / "record.json")
    assert {name: printed[name] for name in record.metrics} == record.metrics
    table = pq.read_table(trained / "predictions.parquet").to_pandas()
    assert len(table) == record.num_val_images == 2
    truth = COCO(str(data_dir / "annotations" / "instances_val.json"))
    results = json.loads((trained / "detections.json").read_text())
    assert len(results) == table.num_detections.sum() > 0
    assert {result["category_id"] for result in results} <= set(range(1, 11))
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.params.maxDets = [1, 10, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    assert precision[precision > -1].mean() == pytest.approx(printed["ap"], abs=1e-6)
    for row in table.itertuples():
        picture = Image.open(trained / row.picture)
        assert picture.size == (480, 256 + 24)
        assert 0 <= row.num_found <= row.num_objects


def test_image_ids_of_several_files_stay_apart(trained, data_dir):
    def results_of(name):
        return json.loads((trained / f"detections{name}.json").read_text())

    assert main(["evaluate", str(trained)]) == 0
    of_val = results_of("")
    assert main(["evaluate", str(trained), "--split", "all"]) == 0
    assert results_of("_instances_val") == of_val
    assert not (trained / "detections.json").exists()
    listed = json.loads((data_dir / "annotations" / "instances_train.json").read_text())["images"]
    found = {result["image_id"] for result in results_of("_instances_train")}
    assert 0 < len(found) <= len(listed)
    assert main(["evaluate", str(trained)]) == 0
    assert [path.name for path in trained.glob("detections*")] == ["detections.json"]


def test_boxes_are_in_the_px_of_the_images_own_size(trained, data_dir):
    assert main(["evaluate", str(trained)]) == 0
    results = json.loads((trained / "detections.json").read_text())
    boxes = np.array([result["bbox"] for result in results])
    assert boxes.min() >= 0
    far = boxes[:, :2] + boxes[:, 2:]
    assert 256 < far.max() <= 320 + 1e-3


def test_a_trial_stays_in_its_budget(trained, tmp_path, capsys):
    config = trained.parent / "trial.yaml"
    settings = ["--set", "budget=28MB", "--set", "patch_microbatch=1", "--set", "norm=group"]
    assert main(["train", str(config), *settings, "--out", str(tmp_path / "out")]) == 0
    record = read_json(tmp_path / "out" / "record.json")
    assert record.peak_allocated_bytes <= 28_000_000
    small = ["--set", "budget=20MB", "--out", str(tmp_path / "small")]
    assert main(["train", str(config), *small]) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": "flip,rotate"}, "augment='flip,rotate': a rotated box is no longer a box"),
        ({"patch_size": 16}, "patch_size=16 must be a multiple of 32 in detection .*use 32"),
        ({"image_size": 250, "method": "full"}, "image_size=250 must be a multiple of 32"),
        ({"latent_channels": 40}, "latent_channels=40 must be a multiple of 32"),
        ({"backbone": "vit_tiny_patch16_224"}, "backbone='vit_tiny_patch16_224'"),
        ({"backbone": "resnet5"}, "backbone='resnet5' is not a network of timm"),
        ({"aggregator": "small_cnn"}, "aggregator='small_cnn' does not read maps; use conv1x1"),
        ({"layout": "pile"}, "layout='pile' is not accepted; use one of tile, stack"),
        ({"num_classes": 9}, "lists 10 categories, but num_classes=9; set num_classes=10"),
        ({"method": "checkpointed"}, "method='checkpointed' trains classification only"),
        ({"tile_overlap": 0.9}, r"tile_overlap=0\.9 must be 0 to 0\.75"),
        ({"max_detections": 0}, "max_detections=0 must be at least 1"),
        ({"drop_rate": 0.5}, "drop_rate=0.5: detectors have no dropout"),
        ({"weights": "/no/such.safetensors"}, "weights='/no/such.safetensors' is not a file"),
    ],
)  # fmt: skip
def test_settings_that_detect_nothing_are_refused_in_one_line(
    data_dir, tmp_path, capsys, settings, message
):
    config = tmp_path / "trial.yaml"
    config.write_text(yaml.safe_dump({"data_dir": str(data_dir), **SETTINGS, **settings}))
    assert main(["train", str(config), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["patchgd", "tiled", "downsampled", "full"])
def test_every_method_trains(trained, tmp_path, method):
    config = trained.parent / "trial.yaml"
    out = tmp_path / "out"
    assert main(["train", str(config), "--set", f"method={method}", "--out", str(out)]) == 0
    record = read_json(out / "record.json")
    assert record.predicted_peak_bytes == record.peak_allocated_bytes
    assert record.layout == ("tile" if method == "patchgd" else None)
