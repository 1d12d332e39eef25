"""What F1 hides: methods at every threshold of a pixel's probability, not at 0.5 alone.

    python benchmarks/segmentation_threshold.py --data-dir AERIAL

The images of the aerial table (see `segmentation_tables`), made small so that many variants can be
trained: each is a method, if need be with settings (`local_global:fusion=add`). Measured on the
images that it was trained on, too: what is wrong there as well is no matter of generalising.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from measured_trials import parser_of, settings_of, trained_and_tested
from segmentation_tables import PROTOCOLS
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import Tensor

import patchtrain.engine
from patchtrain.config import TrialConfig, parse_overrides
from patchtrain.tasks.segmentation.metrics import Segmentation
from patchtrain.trainer import Trainer

VARIANTS = (
    "full",
    "downsampled",
    "patchgd",
    "local_global",
    "patchgd:sampling_rate=1,inner_iterations=1",
    "local_global:sampling_rate=1,inner_iterations=1",
    "local_global:accumulation_steps=4",
    "local_global:fusion=add",
    "local_global:epochs=10",
    "full:epochs=10",
)
METRICS = ("f1", "marked", "best_f1", "best_threshold", "average_precision")
HEADS = ("F1 at 0.5", "marked", "best F1", "at", "AP")
NUM_SHARES = 256


class Thresholds(Segmentation):
    """Two classes, measured at every threshold.

    An image's outputs are the probabilities of class 1 in 255ths, uint8.
    """

    def classes(self, outputs: Tensor) -> Tensor:
        """Return the probability of each pixel of `outputs` [N, 1, H, W], uint8 [N, H, W]."""
        return (255 * outputs[:, 0].float().sigmoid()).round().to(torch.uint8)

    def score(self, outputs: np.ndarray, targets: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return how many pixels of each image have which class and probability, [2, 256]."""
        return [
            np.stack([np.bincount(shares[wanted == k], minlength=NUM_SHARES) for k in range(2)])
            for shares, wanted in zip(outputs, targets, strict=True)
        ]

    def metrics(self, scores: Sequence[np.ndarray]) -> Mapping[str, float | None]:
        """Return `METRICS` over all pixels. `marked` is how many pixels have at least 0.5, as a
        share of those of class 1.
        """
        counts = sum(scores).ravel()  # type: ignore[union-attr]
        wanted = np.repeat([0, 1], NUM_SHARES)
        shares = np.tile(np.arange(NUM_SHARES) / (NUM_SHARES - 1), 2)
        precision, recall, thresholds = precision_recall_curve(
            wanted, shares, sample_weight=counts, drop_intermediate=False
        )
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1[:-1].argmax())
        return {
            "f1": float(f1[np.searchsorted(thresholds, 0.5)]),  # the last one marks nothing: 0
            "marked": float(counts[shares >= 0.5].sum() / counts[wanted == 1].sum()),
            "best_f1": float(f1[best]),
            "best_threshold": float(thresholds[best]),
            "average_precision": float(
                average_precision_score(wanted, shares, sample_weight=counts)
            ),
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Train the variants one after the other; write the table after each."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    out = arguments.out or Path(__file__).parent / "results" / "segmentation_threshold"
    lines = _heading(arguments)
    for variant, config in _trials(arguments):
        lines.append(_line(variant, config))
        print(lines[-1], flush=True)
        out.with_suffix(".md").write_text("\n".join([*lines, ""]))


def _trials(arguments: argparse.Namespace) -> Iterator[tuple[str, TrialConfig]]:
    for seed in arguments.seeds:
        for variant in arguments.variants:
            method, _, settings = variant.partition(":")
            yield (
                variant,
                TrialConfig.from_mapping(
                    {
                        **PROTOCOLS["aerial"].settings,
                        "image_size": arguments.image_size,
                        "patch_size": arguments.image_size // 4,
                        "data_dir": str(arguments.data_dir),
                        "backbone": "unet",
                        "encoder": "resnet18",
                        "norm": "group",
                        "method": method,
                        **settings_of(arguments),
                        "seed": seed,
                        **parse_overrides([each for each in settings.split(",") if each]),
                    }
                ),
            )


def _line(variant: str, config: TrialConfig) -> str:
    """Train and return the row of the table."""
    data = trained_and_tested(config, num_watched=1)
    task = Thresholds(len(data.class_names))
    with patch.object(patchtrain.engine, "build_task", lambda *_: task):
        trainer = Trainer(config, data=data)
        while not trainer.finished:
            epoch = trainer.run_epoch()
    found = [trainer.predict(data.train), trainer.predict(data.test)]
    trainer.close()
    cells = [
        f"`{variant}`",
        str(config.seed),
        f"{epoch.train_loss:.3f}",
        *(_shown(name, metrics[name]) for metrics in found for name in METRICS),
    ]
    return "| " + " | ".join(cells) + " |"


def _shown(name: str, value: float | None) -> str:
    assert value is not None
    return f"{value:.2f}" if name in ("best_threshold", "marked") else f"{100 * value:.1f}"


def _heading(arguments: argparse.Namespace) -> list[str]:
    heads = [
        "variant",
        "seed",
        "loss of the last epoch",
        *(f"{part}: {head}" for part in ("trained on", "test") for head in HEADS),
    ]
    return [
        "# Segmentation: F1 at every threshold",
        "",
        f"`python benchmarks/segmentation_threshold.py`: aerial scenes at {arguments.image_size} "
        f"px, patch and downsampled image {arguments.image_size // 4} px, U-Net (resnet18), group "
        f"norm, {arguments.epochs} epochs, batch {arguments.batch_size}, learning rate "
        f"{arguments.learning_rate:g}, {arguments.precision}, torch {torch.__version__}; S 25 %, "
        "J 4, unless a variant says otherwise. Percent; marked: pixels of probability 0.5 and more "
        "as a share of the true ones; at: the threshold of the best F1.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__ or "", batch_size=1, learning_rate=1e-3, epochs=5)
    parser.set_defaults(precision="fp32", seeds=[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=256, help="patches are a quarter of it")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    return parser


if __name__ == "__main__":
    main()
