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
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measured_trials import measured, parser_of, settings_of, versions_of

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.units import format_bytes

METHODS = ("full", "downsampled", "patchgd", "local_global", "tiled")
USUAL = ("batch", "none")
METRICS = ("accuracy", "f1", "iou", "balanced_accuracy", "plr", "nlr")


@dataclass(frozen=True)
class Protocol:
    """What all trials of a table share."""

    settings: Mapping[str, Any]
    epochs: int


_NUM_WATCHED = 2
_START = "from_"
"""Before the weights' name in the id of a trial that did not start from scratch."""

PROTOCOLS = {
    "drive": Protocol(
        settings={
            "dataset": "drive",
            "image_size": 512,
            "patch_size": 128,
            "sampling_rate": 0.25,
            "inner_iterations": 4,
            "global_pass": "joint",
            "test_fraction": 0.0,
        },
        epochs=40,
    ),
    "aerial": Protocol(
        settings={
            "dataset": "aerial",
            "foreground": "building",
            "image_size": 1024,
            "patch_size": 256,
            "sampling_rate": 0.25,
            "inner_iterations": 4,
            "global_pass": "joint",
            "val_fraction": 0.01,
            "test_fraction": 20 / 72,
        },
        epochs=20,
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write the table."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    out = arguments.out or Path(__file__).parent / "results" / f"segmentation_{arguments.table}"
    rows = measured(
        out.with_suffix(".parquet"),
        _trials(arguments),
        _NUM_WATCHED,
        lambda rows: _write(out.with_suffix(".md"), _report(arguments, rows)),
    )
    print(_report(arguments, rows))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _trials(arguments: argparse.Namespace) -> Iterator[tuple[str, TrialConfig]]:
    protocol = PROTOCOLS[arguments.table]
    for seed in arguments.seeds:
        for backbone in arguments.backbones:
            for method in arguments.methods:
                settings = {
                    **protocol.settings,
                    **settings_of(arguments),
                    "data_dir": str(arguments.data_dir),
                    "backbone": backbone,
                    "encoder": arguments.encoder,
                    "method": method,
                    "epochs": arguments.epochs or protocol.epochs,
                    "norm": arguments.norm,
                    "weights": arguments.weights,
                    "augment": arguments.augment,
                    "seed": seed,
                }
                kinds = (
                    []
                    if arguments.weights == "none"
                    else [_START + Path(arguments.weights).stem.replace("-", "_")]
                )
                kinds += [kind for kind in (arguments.norm, arguments.augment) if kind not in USUAL]
                if arguments.inner_iterations not in (None, settings["inner_iterations"]):
                    settings["inner_iterations"] = arguments.inner_iterations
                    kinds.append(f"J{arguments.inner_iterations}")
                trial_id = (
                    f"{backbone}-{arguments.encoder}-{method}-e{settings['epochs']}"
                    f"-lr{arguments.learning_rate:g}{''.join(f'-{kind}' for kind in kinds)}"
                    f"-seed{seed}"
                )
                yield trial_id, TrialConfig.from_mapping(settings)


def _report(arguments: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table in Markdown: means over seeds, the paper's units (percent; plr as it is)."""
    first = rows[0]
    heads = (
        "backbone",
        "norm",
        "start",
        "method",
        "J",
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
        f"batch {first['batch_size']}, "
        f"learning rate {first['learning_rate']:g}, {first['precision']}; "
        f"{first['num_train_images']} images to train, {first['num_val_images']} to measure, all "
        "pixels pooled. Metrics in percent, plr as it is; peaks of tensors.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
    ]
    lines += [_line(group, _of_full(group, rows)) for group in _groups(rows)]
    return "\n".join([*lines, "", versions_of(rows), ""])


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the trials that differ in their seeds alone."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        order = (row["backbone"] != "unet", row["norm"], METHODS.index(row["method"]))
        groups[(*order, *_kind(row))].append(row)
    for kind in sorted(groups):
        yield groups[kind]


def _kind(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return everything but the seed that may differ in one file.

    Its id holds backbone, encoder, method, epochs, learning rate, start, norm, augmentation and J.
    """
    name, _, _ = row["trial_id"].rpartition("-seed")
    return name, row["batch_size"], row["precision"]


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
        _started_from(first),
        first["method"],
        str(first["inner_iterations"]) if catalog.method(first["method"]).samples_patches else "",
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


def _started_from(row: Mapping[str, Any]) -> str:
    starts = [part for part in row["trial_id"].split("-") if part.startswith(_START)]
    return starts[0].removeprefix(_START) if starts else "scratch"


_OF_THE_PEAK = ("backbone", "encoder", "norm", "batch_size", "precision")


def _of_full(group: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the peak as a share of that of `full`, if that was trained."""
    peaks = [
        row["peak_allocated_bytes"]
        for row in rows
        if row["method"] == "full" and all(row[name] == group[0][name] for name in _OF_THE_PEAK)
    ]
    return group[0]["peak_allocated_bytes"] / peaks[0] if peaks else None


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return statistics.mean(values) if values else None


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__ or "", batch_size=4, learning_rate=1e-3, epochs=None)
    parser.add_argument("table", choices=PROTOCOLS)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--backbones", nargs="+", default=["unet", "deeplabv3"])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--norm", default="batch")
    parser.add_argument(
        "--weights",
        default="none",
        help="safetensors file to start from; its name marks the rows",
    )
    parser.add_argument("--augment", default="none", help="more than 'none' is not the table's")
    parser.add_argument("--inner-iterations", type=int, help="others than the table's")
    return parser


if __name__ == "__main__":
    main()
