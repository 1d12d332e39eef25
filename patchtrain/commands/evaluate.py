"""`patchtrain evaluate`: the metrics and per-image predictions of saved weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from patchtrain.commands.predictions import (
    BoxPredictions,
    ClassPredictions,
    MaskPredictions,
    Predictions,
)
from patchtrain.commands.progress import metrics_text
from patchtrain.config import TrialConfig, parse_overrides
from patchtrain.datasets import ImageData, list_images, load_all
from patchtrain.datasets.finding.tables import read_table
from patchtrain.errors import ConfigError, DataError
from patchtrain.trainer import Trainer

FREE_SETTINGS = ("batch_size", "budget", "device", "num_workers", "skip_bad_images")
"""What `--set` may change: how the measurement runs, not what is measured."""


def evaluate(
    folder: Path,
    data_dir: Path | None,
    *,
    split: str | None,
    overrides: Sequence[str],
    as_json: bool,
) -> int:
    """Print the metrics of the weights in `folder` and write predictions.parquet there; for
    segmentation also predicted masks, predictions/<image_id>.png, and predictions.png to look at;
    for detection detections.json (COCO's format for results) and pictures with boxes,
    predictions/<image_id>.jpg.

    Args:
        data_dir: images to measure on; None: those that the trial was trained on.
        split: train, val, test or all; None: val, or all where none of val is in `data_dir`.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: no config.yaml there; give a folder that `train --out` wrote")
    for name in parse_overrides(overrides):
        if name not in FREE_SETTINGS:
            raise ConfigError(
                f"--set {name}: saved weights fix it; only {', '.join(FREE_SETTINGS)} may be set"
            )
    config = TrialConfig.load(folder / "config.yaml", overrides)
    # the weights to start from are not those to measure
    config = replace(config, weights="none")
    if data_dir is not None:
        config = replace(config, data_dir=str(data_dir.expanduser().resolve()))
    listing = list_images(config)
    split, image_ids = _choose(folder, config, listing.image_ids, split)
    data = load_all(config, listing.only(image_ids))
    examples = data.test
    trainer = Trainer(
        config, trial_id=folder.resolve().name, data=replace(data, val=examples, test=())
    )
    trainer.load_weights(folder / "checkpoint")
    with _predictions_of(config, data, folder, split) as predictions:
        metrics = trainer.predict(examples, predictions.add)
    trainer.close()
    if as_json:
        print(json.dumps({"split": split, "num_images": len(examples), **metrics}))
    else:
        shown = metrics_text(metrics)
        where = " of GENERATED SAMPLE DATA" if data.is_sample else ""
        print(
            f"{split}: {len(examples)} images{where}  {shown}  -> {folder / 'predictions.parquet'}"
        )
    return 0


def _choose(
    folder: Path, config: TrialConfig, everything: set[str], split: str | None
) -> tuple[str, set[str]]:
    """Return the name of the split and which image_ids of `everything`, all those in
    `config.data_dir`, it has.
    """
    if split == "all":
        return "all", everything
    wanted = {
        row.values["image_id"]
        for row in read_table(folder / "split.csv", ("image_id", "split"))
        if row.values["split"] == (split or "val")
    }
    found = wanted & everything
    where = "the generated images" if config.data_dir is None else config.data_dir
    if found and len(found) < len(wanted):
        raise DataError(
            f"{where}: holds {len(found)} of the {len(wanted)} images of split {split or 'val'}; "
            "put the others there, or use --split all"
        )
    if found:
        return split or "val", found
    if split is None:
        return "all", everything
    raise DataError(f"--split {split}: none of its images are in {where}; use --split all")


def _predictions_of(config: TrialConfig, data: ImageData, folder: Path, split: str) -> Predictions:
    if config.task == "segmentation":
        return MaskPredictions(folder, split, data.class_names)
    if config.task == "detection":
        return BoxPredictions(folder, split, data.class_names, data.category_numbers)
    return ClassPredictions(folder, split)
