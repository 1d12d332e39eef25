"""The paper's tables VI and VII anew: methods on real images, the same for all but the method.

    python benchmarks/segmentation_tables.py drive --data-dir DRIVE
    python benchmarks/segmentation_tables.py aerial --data-dir AERIAL

DRIVE: trained on the published training images, measured on the published test images. Aerial: the
paper's sizes, 52 to train and 20 to measure, drawn once. The last epoch counts; nothing is chosen
by the test images. Each trial's row is written as it ends, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from patchtrain.config import TrialConfig
from patchtrain.datasets import ImageData, load_dataset
from patchtrain.record import TrialRecord, read_rows, write_rows
from patchtrain.trainer import Trainer
from patchtrain.units import format_bytes

METHODS = ("full", "downsampled", "patchgd", "local_global", "tiled")
USUAL = ("batch", "none")
METRICS = ("accuracy", "f1", "iou", "balanced_accuracy", "plr", "nlr")


@dataclass(frozen=True)
class Protocol:
    """What all trials of a table share."""

    settings: Mapping[str, Any]
    epochs: int
    num_watched: int
    """Test images that are measured after every epoch, to see how far a trial is."""


PROTOCOLS = {
    "drive": Protocol(
        settings={
            "dataset": "drive",
            "image_size": 512,
            "patch_size": 128,
            "sampling_rate": 0.25,
            "inner_iterations": 4,
            "test_fraction": 0.0,
        },
        epochs=40,
        num_watched=2,
    ),
    "aerial": Protocol(
        settings={
            "dataset": "aerial",
            "foreground": "building",
            "image_size": 1024,
            "patch_size": 256,
            "sampling_rate": 0.25,
            "inner_iterations": 4,
            "val_fraction": 0.01,
            "test_fraction": 20 / 72,
        },
        epochs=20,
        num_watched=2,
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write the table."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    out = arguments.out or Path(__file__).parent / "results" / f"segmentation_{arguments.table}"
    path = out.with_suffix(".parquet")
    rows = read_rows(path)
    done = {row["trial_id"] for row in rows}
    data: ImageData | None = None
    for trial_id, config in _trials(arguments):
        if trial_id in done:
            continue
        data = data or _data(config, PROTOCOLS[arguments.table].num_watched)
        rows.append(_run(trial_id, config, data))
        write_rows(path, TrialRecord, rows)
        out.with_suffix(".md").write_text(_report(arguments, rows))
    print(_report(arguments, rows))


def _trials(arguments: argparse.Namespace) -> Iterator[tuple[str, TrialConfig]]:
    protocol = PROTOCOLS[arguments.table]
    for seed in arguments.seeds:
        for backbone in arguments.backbones:
            for method in arguments.methods:
                settings = {
                    **protocol.settings,
                    "data_dir": str(arguments.data_dir),
                    "backbone": backbone,
                    "encoder": arguments.encoder,
                    "method": method,
                    "epochs": arguments.epochs or protocol.epochs,
                    "learning_rate": arguments.learning_rate,
                    "batch_size": arguments.batch_size,
                    "precision": arguments.precision,
                    "norm": arguments.norm,
                    "augment": arguments.augment,
                    "device": arguments.device,
                    "seed": seed,
                }
                kinds = [kind for kind in (arguments.norm, arguments.augment) if kind not in USUAL]
                trial_id = (
                    f"{backbone}-{arguments.encoder}-{method}-e{settings['epochs']}"
                    f"-lr{arguments.learning_rate:g}{''.join(f'-{kind}' for kind in kinds)}"
                    f"-seed{seed}"
                )
                yield trial_id, TrialConfig.from_mapping(settings)


def _data(config: TrialConfig, num_watched: int) -> ImageData:
    """Return everything that is not for testing to train on, the test images to test and watch."""
    data = load_dataset(config)
    train = tuple(sorted((*data.train, *data.val), key=lambda example: example.image_id))
    if len(train) + len(data.test) == 72:  # aerial: the paper's 52
        assert len(train) == 52
    return replace(data, train=train, val=data.test[:num_watched])


def _run(trial_id: str, config: TrialConfig, data: ImageData) -> dict[str, Any]:
    started = time.perf_counter()
    trainer = Trainer(config, trial_id=trial_id, data=data)
    _ = trainer.estimate  # recorded beside what is measured
    while not trainer.finished:
        epoch = trainer.run_epoch()
        print(
            f"{trial_id}  epoch {epoch.epoch}/{config.epochs}  loss {epoch.train_loss:.4f}  "
            f"{epoch.metric_name} of the watched {epoch.metric or 0:.4f}  "
            f"{epoch.train_time_s:.1f} s",
            flush=True,
        )
    metrics = trainer.predict(data.test)
    record = replace(
        trainer.record(), metrics=metrics, metric=metrics["f1"], num_val_images=len(data.test)
    )
    trainer.close()
    print(
        f"{trial_id}  f1 {record.metric:.4f}  in {time.perf_counter() - started:.0f} s", flush=True
    )
    return record.to_row()


def _report(arguments: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table in Markdown: means over seeds, the paper's units (percent; plr as it is)."""
    first = rows[0]
    heads = (
        "backbone",
        "norm",
        "method",
        "epochs",
        "seeds",
        *METRICS,
        "f1 from",
        "to",
        "peak",
        "predicted",
        "of full",
    )
    lines = [
        f"# Segmentation: {arguments.table}",
        "",
        f"`python benchmarks/segmentation_tables.py {arguments.table}`: {first['image_size']} px, "
        f"patch and downsampled image {first['patch_size']} px, S {first['sampling_rate']:g}, "
        f"J {first['inner_iterations']}, batch {first['batch_size']}, "
        f"learning rate {first['learning_rate']:g}, {first['precision']}, from scratch; "
        f"{first['num_train_images']} images to train, {first['num_val_images']} to measure, all "
        "pixels pooled. Metrics in percent, plr as it is; peaks of tensors.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
    ]
    lines += [_line(group, _of_full(group, rows)) for group in _groups(rows)]
    versions = f"Device {first['device']}; {first['versions']}"
    return "\n".join([*lines, "", versions, ""])


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the trials that differ in their seeds alone."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[(row["backbone"] != "unet", row["norm"], METHODS.index(row["method"]))].append(row)
    for kind in sorted(groups):
        yield groups[kind]


def _line(group: Sequence[Mapping[str, Any]], of_full: float | None) -> str:
    first, found = group[0], [row["metric_f1"] for row in group]
    values = [_mean(group, f"metric_{name}") for name in METRICS]
    shown = [
        "undefined" if value is None else f"{value if name == 'plr' else 100 * value:.1f}"
        for name, value in zip(METRICS, values, strict=True)
    ]
    cells = [
        f"{first['backbone']} ({first['encoder']})",
        first["norm"],
        first["method"],
        str(first["epochs"]),
        str(len(group)),
        *shown,
        f"{100 * min(found):.1f}",
        f"{100 * max(found):.1f}",
        format_bytes(first["peak_allocated_bytes"]),
        format_bytes(first["predicted_peak_bytes"]),
        "" if of_full is None else f"{of_full:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _of_full(group: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the peak as a share of that of `full`, if that was trained."""
    peaks = [
        row["peak_allocated_bytes"]
        for row in rows
        if row["method"] == "full"
        and all(row[name] == group[0][name] for name in ("backbone", "norm"))
    ]
    return group[0]["peak_allocated_bytes"] / peaks[0] if peaks else None


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return statistics.mean(values) if values else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("table", choices=PROTOCOLS)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--backbones", nargs="+", default=["unet", "deeplabv3"])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--augment", default="none", help="more than 'none' is not the table's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    return parser


if __name__ == "__main__":
    main()
