"""Detection by method, all else equal: generated mosaics of 2048 px, digits from 14 px up.

    python benchmarks/detection_table.py

Every fourth mosaic is measured, its digits written by none of those in training. The last epoch
counts. Each trial's row is written as it ends, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from measured_trials import Rows, measured, parser_of, settings_of, versions_of

from patchtrain.config import TrialConfig
from patchtrain.units import format_bytes

METHODS: Mapping[str, Mapping[str, str]] = {
    "local_global, tile": {"method": "local_global", "layout": "tile"},
    "local_global, stack": {"method": "local_global", "layout": "stack"},
    "patchgd": {"method": "patchgd"},
    "tiled": {"method": "tiled"},
    "downsampled": {"method": "downsampled"},
    "full": {"method": "full"},
}
METRICS = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar")
_NUM_WATCHED = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write the table."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    out = arguments.out or Path(__file__).parent / "results" / "detection"

    def report(rows: Rows) -> None:
        out.with_suffix(".md").write_text(_report(rows))

    rows = measured(out.with_suffix(".parquet"), _trials(arguments), _NUM_WATCHED, report)
    print(_report(rows))


def _trials(arguments: argparse.Namespace) -> Iterator[tuple[str, TrialConfig]]:
    for seed in arguments.seeds:
        for name in arguments.methods:
            settings = {
                "dataset": "coco_mosaic",
                "sample_num_images": arguments.num_images,
                "image_size": arguments.image_size,
                "patch_size": arguments.patch_size,
                "sampling_rate": arguments.sampling_rate,
                "inner_iterations": arguments.inner_iterations,
                "backbone": arguments.backbone,
                "latent_channels": arguments.channels,
                "norm": "group",
                **settings_of(arguments),
                "seed": seed,
                **METHODS[name],
            }
            trial_id = f"{'-'.join(METHODS[name].values())}-e{arguments.epochs}-seed{seed}"
            yield trial_id, TrialConfig.from_mapping(settings)


def _report(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown: means over seeds, in percent."""
    first = rows[0]
    heads = ("method", "seeds", *METRICS, "ap from", "to", "peak", "predicted", "images/s")
    lines = [
        "# Detection on generated mosaics",
        "",
        f"`python benchmarks/detection_table.py`: {first['image_size']} px, patch and downsampled "
        f"image {first['patch_size']} px, S {first['sampling_rate']:g}, "
        f"J {first['inner_iterations']}, {first['backbone']} with FPN, from scratch, "
        f"{first['norm']} norm, batch {first['batch_size']}, {first['epochs']} epochs, learning "
        f"rate {first['learning_rate']:g}, {first['precision']}; {first['num_train_images']} "
        f"images to train, {first['num_val_images']} to measure. Percent; peaks of tensors; speed "
        "of training on this machine.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
    ]
    groups: dict[tuple[str, str | None], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[(row["method"], row["layout"])].append(row)
    lines += [_line(group) for group in groups.values()]
    return "\n".join([*lines, "", versions_of(rows), ""])


def _line(group: Sequence[dict[str, Any]]) -> str:
    first = group[0]
    of_ap = [100 * row["metric_ap"] for row in group]
    cells = [
        first["method"] + (f", {first['layout']}" if first["layout"] else ""),
        str(len(group)),
        *(_mean(group, name) for name in METRICS),
        f"{min(of_ap):.1f}",
        f"{max(of_ap):.1f}",
        format_bytes(first["peak_allocated_bytes"]),
        format_bytes(first["predicted_peak_bytes"]),
        f"{statistics.mean(row['images_per_s'] for row in group):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _mean(group: Sequence[dict[str, Any]], name: str) -> str:
    values = [row[f"metric_{name}"] for row in group if row[f"metric_{name}"] is not None]
    return f"{100 * statistics.mean(values):.1f}" if values else "none"


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__ or "", batch_size=2, learning_rate=5e-4, epochs=12)
    known = list(METHODS)
    parser.add_argument("--methods", nargs="+", choices=known, default=known[:-1])
    parser.add_argument("--num-images", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=2048)
    parser.add_argument("--patch-size", type=int, default=256)
    parser.add_argument("--sampling-rate", type=float, default=0.125)
    parser.add_argument("--inner-iterations", type=int, default=2)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--channels", type=int, default=64)
    return parser


if __name__ == "__main__":
    main()
