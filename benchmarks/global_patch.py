"""Does the global patch help, and in which form? Every form of the method, all else equal.

    python benchmarks/global_patch.py drive --data-dir DRIVE
    python benchmarks/global_patch.py slides

Every form sees the same images in the same order and takes as many optimizer steps; the last epoch
counts, and nothing is chosen by what is measured. Each trial's row is written as it ends, and a run
that was stopped goes on. Prints a table with each form's difference to `patchgd`, paired by seed.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import global_variants
import torch
from global_shares import draw_shares
from measured_trials import Rows, epochs_beside, measured, versions_of

from patchtrain.config import TrialConfig
from patchtrain.record import read_rows
from patchtrain.units import format_bytes

FORMS: Mapping[str, Mapping[str, Any]] = {
    "patchgd": {"method": "patchgd"},
    "joint-add": {"global_pass": "joint", "fusion": "add"},
    "joint-scaled": {"global_pass": "joint", "fusion": "add", "fusion_scale": 0.0},
    "joint-concat": {"global_pass": "joint", "fusion": "concat"},
    "filled-add": {"global_pass": "filled", "fusion": "add"},
    "filled-scaled": {"global_pass": "filled", "fusion": "add", "fusion_scale": 0.0},
    "filled-concat": {"global_pass": "filled", "fusion": "concat"},
    "filled-concat-scaled": {"global_pass": "filled", "fusion": "concat", "fusion_scale": 0.0},
    "published": {"method": "published"},
    "published-patchgd": {"method": "published_patchgd"},
    "downsampled": {"method": "downsampled"},
    "full": {"method": "full"},
}
ALL_FORMS = {**FORMS, **global_variants.forms()}


@dataclass(frozen=True)
class Table:
    """What all trials of a table share."""

    metric: str
    """The column that is compared, in percent."""
    settings: Mapping[str, Any]
    differs: tuple[str, ...] = ()
    """Settings beside the form that may differ within the table."""


TABLES = {
    "drive": Table(
        metric="metric_f1",
        differs=("backbone", "norm"),
        settings={
            "dataset": "drive",
            "image_size": 512,
            "patch_size": 128,
            "sampling_rate": 0.25,
            "inner_iterations": 4,
            "test_fraction": 0.0,
            "backbone": "unet",
            "encoder": "resnet18",
            "learning_rate": 1e-3,
            "precision": "bf16",
            "epochs": 40,
        },
    ),
    "aerial": Table(
        metric="metric_f1",
        differs=("backbone", "norm"),
        settings={
            "dataset": "aerial",
            "foreground": "building",
            "image_size": 512,
            "patch_size": 128,
            "sampling_rate": 0.25,
            "inner_iterations": 4,
            "val_fraction": 0.01,
            "test_fraction": 20 / 72,
            "backbone": "unet",
            "encoder": "resnet18",
            "norm": "group",
            "learning_rate": 1e-3,
            "precision": "bf16",
            "epochs": 20,
        },
    ),
    "ultramnist": Table(
        metric="metric_accuracy",
        settings={
            "dataset": "ultramnist",
            "num_classes": 10,
            "image_size": 128,
            "patch_size": 64,
            "sampling_rate": 0.25,
            "inner_iterations": 3,
            "backbone": "test_resnet",
            "aggregator": "small_cnn",
            "norm": "group",
            "batch_size": 32,
            "learning_rate": 5e-4,
            "channels_last": False,
            "precision": "bf16",
            "epochs": 10,
        },
    ),
    "slides": Table(
        metric="metric_accuracy",
        settings={
            "dataset": "panda",
            "image_size": 1024,
            "patch_size": 128,
            "sampling_rate": 0.2,
            "inner_iterations": 2,
            "sample_num_images": 216,
            "val_fraction": 1 / 3,
            "backbone": "test_resnet",
            "aggregator": "small_cnn",
            "precision": "bf16",
            "epochs": 15,
        },
    ),
    "mosaics": Table(
        metric="metric_ap",
        settings={
            "dataset": "coco_mosaic",
            "sample_num_images": 32,
            "image_size": 2048,
            "patch_size": 256,
            "sampling_rate": 0.125,
            "inner_iterations": 2,
            "backbone": "resnet18",
            "latent_channels": 64,
            "norm": "group",
            "batch_size": 2,
            "learning_rate": 5e-4,
            "precision": "bf16",
            "epochs": 12,
        },
    ),
}

_NUM_WATCHED = 2
_RIVAL = "patchgd"


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write the table."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    out = arguments.out or Path(__file__).parent / "results" / f"global_patch_{arguments.table}"

    def report(rows: Rows) -> None:
        out.with_suffix(".md").write_text(_report(arguments.table, rows))

    rows = measured(out.with_suffix(".parquet"), _trials(arguments), _NUM_WATCHED, report)
    report(rows)
    epochs = read_rows(epochs_beside(out.with_suffix(".parquet")))
    draw_shares(epochs, _form_of, out.with_suffix(".svg"))
    print(_report(arguments.table, rows))


def _trials(arguments: argparse.Namespace) -> Iterator[tuple[str, TrialConfig]]:
    table = TABLES[arguments.table]
    for seed in arguments.seeds:
        for form in arguments.forms:
            settings = {**table.settings, **_given(arguments), **ALL_FORMS[form], "seed": seed}
            if settings["dataset"] == "panda":
                settings["sample_seed"] = seed
            if form == "downsampled":  # as many optimizer steps as the others
                settings["epochs"] *= settings["inner_iterations"]
            config = TrialConfig.from_mapping(settings)
            kinds = (str(getattr(config, name)) for name in table.differs)
            yield "-".join([*kinds, form, f"e{config.epochs}", f"seed{seed}"]), config


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("data_dir", "weights", "backbone", "norm", "epochs")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _form_of(row: Mapping[str, Any]) -> str:
    """Return the name of a trial's form, which its id holds."""
    return max((name for name in ALL_FORMS if f"-{name}-e" in f"-{row['trial_id']}"), key=len)


def _report(name: str, rows: Rows) -> str:
    """Return the table in Markdown."""
    table, first = TABLES[name], rows[0]
    heads = (*table.differs, "form", "seeds", "mean", "least", "most", f"minus {_RIVAL}")
    heads = (*heads, "95 % interval", "peak", "predicted")
    lines = [
        f"# The global patch: {name}",
        "",
        f"`python benchmarks/global_patch.py {name}`: {table.metric.removeprefix('metric_')} in "
        f"percent; {first['image_size']} px, patch and downsampled image {first['patch_size']} px, "
        f"S {first['sampling_rate']:g}, J {first['inner_iterations']}, batch "
        f"{first['batch_size']}, learning rate {first['learning_rate']:g}, {first['precision']}; "
        f"{first['num_train_images']} images to train, {first['num_val_images']} to measure. "
        f"Differences are paired by seed.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
    ]
    groups: dict[tuple[str, ...], dict[str, Rows]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        kind = tuple(str(row[setting]) for setting in table.differs)
        groups[kind][_form_of(row)].append(row)
    for kind, by_form in sorted(groups.items()):
        rival = {row["seed"]: row[table.metric] for row in by_form[_RIVAL]}
        for form in ALL_FORMS:
            if by_form[form]:
                cells = [*kind, form, *_cells(by_form[form], table.metric, rival)]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", versions_of(rows), ""])


def _cells(group: Rows, metric: str, rival: Mapping[int, float]) -> list[str]:
    found = [100 * (row[metric] or 0) for row in group]
    gains = [
        100 * ((row[metric] or 0) - rival[row["seed"]]) for row in group if row["seed"] in rival
    ]
    first = group[0]
    return [
        str(len(group)),
        f"{statistics.mean(found):.1f}",
        f"{min(found):.1f}",
        f"{max(found):.1f}",
        f"{statistics.mean(gains):+.1f}" if gains and first["method"] != _RIVAL else "",
        _interval(gains) if first["method"] != _RIVAL else "",
        format_bytes(first["peak_allocated_bytes"]),
        format_bytes(first["predicted_peak_bytes"]),
    ]


def _interval(gains: Sequence[float]) -> str:
    """Return the 95 % interval of the mean by Student's t."""
    from scipy.stats import t

    if len(gains) < 2:
        return ""
    half = t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains))
    middle = statistics.mean(gains)
    return f"{middle - half:+.1f} to {middle + half:+.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--forms", nargs="+", choices=ALL_FORMS, default=list(FORMS)[:-1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--data-dir")
    parser.add_argument("--weights")
    parser.add_argument("--backbone")
    parser.add_argument("--norm")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    return parser


if __name__ == "__main__":
    main()
