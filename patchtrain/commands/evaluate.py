"""`patchtrain evaluate`: the metrics and per-image predictions of saved weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patchtrain.commands.progress import metrics_text
from patchtrain.config import TrialConfig, parse_overrides
from patchtrain.datasets import Example, list_images, load_all
from patchtrain.datasets.finding.tables import read_table
from patchtrain.errors import ConfigError, DataError
from patchtrain.files import check_writable
from patchtrain.owned import Owned
from patchtrain.tasks import parts_of
from patchtrain.tasks.predictions import Predictions
from patchtrain.trainer import Trainer

FREE_SETTINGS = (
    "batch_size",
    "budget",
    "device",
    "num_workers",
    "skip_bad_images",
    "drop_duplicates",
)
"""What `--set` may change: how the measurement runs, not what is measured."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well saved weights do on some images."""

    split: str
    """Which images: `train`, `val`, `test` or `all`."""
    num_images: int
    num_skipped: int
    """Images left out, because they cannot be read or are copies."""
    is_sample: bool
    """Whether the images are generated."""
    metrics: Mapping[str, float | None]
    """By name; None where a metric is undefined."""
    predictions: Path | None
    """predictions.parquet, one row per image; None if it could not be written."""
    problem: str | None = None
    """Why the predictions could not be written."""


def evaluate(
    folder: Path,
    data_dir: Path | None,
    *,
    split: str | None,
    overrides: Sequence[str],
    as_json: bool,
    out: Path | None = None,
) -> int:
    """Print the metrics of the weights in `folder`, see `evaluate_folder`; return the exit status.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    settings = parse_overrides(overrides)
    found = evaluate_folder(folder, data_dir, split=split, settings=settings, out=out)
    if as_json:
        numbers = {"num_images": found.num_images, "num_skipped": found.num_skipped}
        print(json.dumps({"split": found.split, **numbers, **found.metrics}))
    else:
        where = " of GENERATED SAMPLE DATA" if found.is_sample else ""
        skipped = f", {found.num_skipped} left out" if found.num_skipped else ""
        print(
            f"{found.split}: {found.num_images} images{where}{skipped}  "
            f"{metrics_text(found.metrics)}  -> {found.predictions or 'no predictions'}"
        )
    if found.problem is not None:
        print(f"patchtrain: {found.problem}", file=sys.stderr)
    return 0 if found.problem is None else 1


def evaluate_folder(
    folder: Path,
    data_dir: Path | None,
    *,
    split: str | None,
    settings: Mapping[str, Any],
    out: Path | None = None,
) -> Evaluation:
    """Measure the weights in `folder` and write predictions.parquet there, or into `out`.

    Segmentation also writes the predicted masks, predictions/<image_id>.png, and an overview,
    predictions.png; detection writes detections.json (COCO's format for results) and pictures with
    boxes, predictions/<image_id>.jpg.

    Args:
        data_dir: folder of the images to measure on; None: the trial's own data.
        split: train, val, test or all; None: val, or all if none of val is in `data_dir`.
        settings: any of `FREE_SETTINGS`.
        out: folder of the predictions; None: `folder`.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    config = _measured_config(folder, data_dir, settings)
    out = folder if out is None else out
    check_writable(out)  # before hours of inference
    listing = list_images(config)
    split, image_ids = _choose(folder, config, listing.image_ids, split)
    data = load_all(config, listing.only(image_ids))
    examples = data.test
    trainer = Trainer(
        config, trial_id=folder.resolve().name, data=replace(data, val=examples, test=())
    )
    trainer.load_weights(folder / "checkpoint")
    with Owned(out, ".predictions.lock", "another `evaluate`"):
        predictions = parts_of(config).open_predictions(data, out, split)
        metrics, lost = _predict(trainer, examples, predictions)
    trainer.close()
    return Evaluation(
        split=split,
        num_images=len(examples),
        num_skipped=data.num_skipped,
        is_sample=data.is_sample,
        metrics=metrics,
        predictions=None if lost else out / "predictions.parquet",
        problem=lost and f"the predictions could not be written ({lost}); give another --out",
    )


def _predict(
    trainer: Trainer, examples: Sequence[Example], predictions: Predictions
) -> tuple[Mapping[str, float | None], str | None]:
    """Return the metrics, and why the predictions could not be written, if so: a disk that fills up
    does not cost the measurement.
    """
    lost: OSError | None = None

    def add(*outputs: Any) -> None:
        nonlocal lost
        if lost is None:
            try:
                predictions.add(*outputs)
            except OSError as error:
                lost = error

    metrics: Mapping[str, float | None] | None = None
    try:
        with predictions:
            metrics = trainer.predict(examples, add)
            if lost is not None:
                raise lost
    except OSError as error:
        if metrics is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return metrics, f"{where}{error.strerror or error}"
    assert metrics is not None
    return metrics, None


def _measured_config(
    folder: Path, data_dir: Path | None, settings: Mapping[str, Any]
) -> TrialConfig:
    """Return the configuration of the trial in `folder`, set up to measure its weights."""
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: has no config.yaml; give a folder that `train --out` wrote")
    for name in settings:
        if name not in FREE_SETTINGS:
            raise ConfigError(
                f"--set {name}: the saved weights fix it; only {', '.join(FREE_SETTINGS)} may be "
                "set"
            )
    config = TrialConfig.load(folder / "config.yaml", changes=settings, dumped=True)
    # `weights` names what training started from, not what is measured
    config = replace(config, weights="none")
    if data_dir is not None:
        config = replace(config, data_dir=str(data_dir.expanduser().resolve()))
    return config


def _choose(
    folder: Path, config: TrialConfig, everything: set[str], split: str | None
) -> tuple[str, set[str]]:
    """Return the name of the split to measure and the image_ids in it.

    Args:
        everything: all image_ids in `config.data_dir`.
        split: the one asked for, if any.
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
            "add the others, or use --split all"
        )
    if found:
        return split or "val", found
    if split is None:
        return "all", everything
    raise DataError(f"--split {split}: none of its images are in {where}; use --split all")
