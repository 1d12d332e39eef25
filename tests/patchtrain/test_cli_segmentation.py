"""The commands on segmentation, as a person runs them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from patchtrain.cli import main
from patchtrain.config import TrialConfig
from patchtrain.datasets.aerial import COLOURS
from patchtrain.errors import ConfigError
from patchtrain.record import read_json, read_rows
from patchtrain.trainer import Trainer

SETTINGS = {
    "encoder": "tu-test_resnet",
    "image_size": 128,
    "patch_size": 32,
    "inner_iterations": 1,
    "batch_size": 4,
    "epochs": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module", params=["drive", "aerial"])
def dataset(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def data_dir(dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / dataset
    arguments = ["--num-images", "12", "--image-size", "160"]
    assert main(["sample-data", dataset, str(folder), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(dataset, data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    settings = {"dataset": dataset, "data_dir": str(data_dir), **SETTINGS}
    (folder / "trial.yaml").write_text(yaml.safe_dump(settings))
    assert main(["train", str(folder / "trial.yaml"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_the_record_says_what_was_trained_and_held(trained, dataset):
    record = read_json(trained / "record.json")
    assert (record.status.value, record.task, record.dataset) == (
        "completed", "segmentation", dataset
    )  # fmt: skip
    assert (record.backbone, record.encoder, record.aggregator, record.fusion) == (
        "unet", "tu-test_resnet", "conv1x1", "concat"
    )  # fmt: skip
    assert record.learning_rate == 1e-4
    assert record.metric_name == ("f1" if dataset == "drive" else "mean_iou")
    assert record.metric == record.metrics[record.metric_name]
    assert record.predicted_peak_bytes >= record.peak_allocated_bytes
    (epoch,) = read_rows(trained / "epochs.parquet")
    assert epoch["metric"] == record.metric


def test_evaluate_gives_the_recorded_metrics_and_masks_of_the_images_own_size(
    trained, dataset, data_dir, capsys
):
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    record = read_json(trained / "record.json")
    assert {name: printed[name] for name in record.metrics} == record.metrics
    table = pq.read_table(trained / "predictions.parquet").to_pandas()
    assert len(table) == record.num_val_images
    masks = {
        path.stem: np.asarray(Image.open(path)) for path in (trained / "predictions").iterdir()
    }
    assert set(masks) == set(table.image_id)
    assert set(table["mask"]) == {f"predictions/{name}.png" for name in masks}
    suffix = "*.tif" if dataset == "drive" else "image_part_*.jpg"
    sizes = {Image.open(path).size for path in data_dir.rglob(suffix)}
    assert {(mask.shape[1], mask.shape[0]) for mask in masks.values()} <= sizes
    if dataset == "drive":
        assert all(set(np.unique(mask)) <= {0, 255} for mask in masks.values())
    else:
        found = {tuple(c) for mask in masks.values() for c in mask.reshape(-1, 3)}
        assert found <= set(COLOURS.values())
    assert Image.open(trained / "predictions.png").width > 1000


def test_the_mean_of_the_table_is_the_metric_of_images(trained, capsys):
    assert main(["evaluate", str(trained), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    table = pq.read_table(trained / "predictions.parquet").to_pandas()
    assert {str(table[name].dtype) for name in ("f1", "plr", "nlr")} == {"float64"}
    assert table.accuracy.mean() == pytest.approx(printed["image_accuracy"])


def test_evaluating_again_leaves_no_masks_of_another_split(trained, dataset, capsys):
    split = "test" if dataset == "drive" else "train"
    assert main(["evaluate", str(trained), "--split", split]) == 0
    table = pq.read_table(trained / "predictions.parquet").to_pandas()
    assert set(table.split) == {split}
    assert {path.stem for path in (trained / "predictions").iterdir()} == set(table.image_id)


def test_an_evaluation_that_fails_leaves_the_last_ones_results(trained, capsys):
    assert main(["evaluate", str(trained)]) == 0
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert main(["evaluate", str(trained), "--split", "all", "--set", "budget=10MB"]) == 3
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--set", "budget=1MB"]) == 3
    assert "out of memory in setup" in capsys.readouterr().err


@pytest.fixture(scope="module")
def coloured_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures with three classes by colour, and train.yaml beside them."""
    folder = tmp_path_factory.mktemp("coloured")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    classes = np.kron(np.array([[0, 1, 2], [2, 0, 1]]), np.ones((48, 32), int))
    shades = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)
    for number in range(12):
        rolled = shades[np.roll(classes, 8 * number, axis=1)]
        Image.fromarray(rolled // 2).save(folder / "images" / f"{number:02}.png")
        Image.fromarray(rolled).save(folder / "masks" / f"{number:02}.png")
    (folder / "classes.csv").write_text("name,color\nr,#C80000\ng,#00C800\nb,#0000C8\n")
    settings = {"dataset": "image_masks", "data_dir": str(folder), "num_classes": 3, **SETTINGS}
    (folder / "trial.yaml").write_text(yaml.safe_dump(settings | {"epochs": 2}))
    return folder


def test_weights_know_the_order_of_their_classes(coloured_dir, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(coloured_dir, other)
    (other / "classes.csv").write_text("name,color\ng,#00C800\nr,#C80000\nb,#0000C8\n")
    out = tmp_path / "out"
    train = ["train", str(coloured_dir / "trial.yaml"), "--out", str(out)]
    assert main([*train, "--set", "epochs=1"]) == 0
    assert main(["evaluate", str(out)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(other)]) == 2
    message = capsys.readouterr().err
    assert f"{other}: has the classes g, r, b, but" in message
    assert "was trained on r, g, b; give them the same names in the same order" in message


def test_a_trial_does_not_go_on_with_its_classes_in_another_order(coloured_dir, tmp_path):
    shutil.copytree(coloured_dir, tmp_path / "data")
    config = TrialConfig.load(coloured_dir / "trial.yaml", [f"data_dir={tmp_path / 'data'}"])
    Trainer(config).save(tmp_path / "checkpoint")
    Trainer(config).load(tmp_path / "checkpoint")
    reordered = "name,color\ng,#00C800\nr,#C80000\nb,#0000C8\n"
    (tmp_path / "data" / "classes.csv").write_text(reordered)
    with pytest.raises(ConfigError, match=r"has the classes g, r, b, but .* trained on r, g, b"):
        Trainer(config).load(tmp_path / "checkpoint")


def test_evaluate_opens_only_the_images_of_the_split(coloured_dir, tmp_path, capsys):
    data, out, split = tmp_path / "data", tmp_path / "out", tmp_path / "split.csv"
    shutil.copytree(coloured_dir, data)
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 2
    rows = [f"{number:02},{part}" for number, part in enumerate(parts)]
    split.write_text("\n".join(["image_id,split", *rows, ""]))
    (data / "images" / "11.png").write_bytes(b"not listed in the split, and no picture")
    settings = ["--set", f"split_file={split}", "--set", f"data_dir={data}", "--set", "epochs=1"]
    train = ["train", str(data / "trial.yaml"), *settings, "--out", str(out)]
    assert main(train) == 0
    for name, count in (("val", 3), ("test", 2)):
        capsys.readouterr()
        assert main(["evaluate", str(out), "--split", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["num_images"] == count
    assert main(["evaluate", str(out), "--split", "all"]) == 2
    assert "11.png: is not an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"backbone": "resnet50"},
            "backbone='resnet50' is not a network for segmentation",
        ),
        ({"encoder": "resnet35"}, "encoder='resnet35' is unknown .* did you mean .*resnet34"),
        ({"encoder": "vgg11", "backbone": "deeplabv3"}, "encoder='vgg11' cannot carry"),
        ({"aggregator": "small_cnn"}, "aggregator='small_cnn' does not read maps"),
        ({"method": "checkpointed"}, "method='checkpointed' trains classification only"),
        ({"task": "classification"}, "task='classification' does not go with dataset="),
        ({"num_classes": 5}, "num_classes=5: dataset=.* has a fixed number of classes"),
        ({"tile_overlap": 0.2}, "tile_overlap=0.2: only detection has overlapping patches"),
        ({"latent_channels": 0}, "latent_channels=0 must be at least 1"),
        (
            {"augment": "flip,twist"},
            "augment='flip,twist' names 'twist'; use none, or some of flip",
        ),
        ({"drop_rate": 0.5}, "drop_rate=0.5: backbone=unet has no dropout"),
        (
            {"image_size": 120, "patch_size": 24, "backbone": "unet_plain"},
            "backbone='unet_plain' cannot be trained on inputs of shape .* no multiples of 16",
        ),
        (
            {"image_size": 100, "patch_size": 25, "backbone": "deeplabv3"},
            "'deeplabv3' cannot .* divisible by 8",
        ),
        ({"dataset": "image_masks", "data_dir": None}, "data_dir is not set"),
        ({"dataset": "aerial", "foreground": "cars"}, "foreground='cars' is not a class of"),
        ({"dataset": "drive", "foreground": "road"}, "foreground='road': dataset=drive has no"),
        (
            {"weights": "pretrained", "backbone": "unet_plain"},
            "weights='pretrained': there are none",
        ),
        (
            {"weights": "pretrained", "encoder": "resnext101_32x4d"},
            r"encoder='resnext101_32x4d' only weights of other data \(ssl, swsl\) are published",
        ),
    ],
)
def test_bad_settings_exit_2_with_one_line_and_write_nothing(
    tmp_path, data_dir, dataset, capsys, settings, message
):
    values = {"dataset": dataset, "data_dir": str(data_dir), **SETTINGS, **settings}
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(values))
    capsys.readouterr()
    status = main(["train", str(tmp_path / "trial.yaml"), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_patches_are_not_tiled_for_classification(tmp_path, capsys):
    (tmp_path / "trial.yaml").write_text("dataset: panda\nmethod: tiled\n")
    assert main(["train", str(tmp_path / "trial.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "method='tiled' needs a label for every patch" in capsys.readouterr().err


def test_augmented_trials_are_equal(dataset, tmp_path):
    if dataset == "aerial":
        pytest.skip("one data set is enough")
    values = {"dataset": dataset, **SETTINGS, "epochs": 2, "augment": "flip,rotate,colour"}
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(values | {"sample_num_images": 8}))
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        assert main(["train", str(tmp_path / "trial.yaml"), "--out", str(out)]) == 0
    one, other = (read_rows(out / "epochs.parquet") for out in outs)
    assert [row["train_loss"] for row in one] == [row["train_loss"] for row in other]
