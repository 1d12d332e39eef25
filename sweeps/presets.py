"""`Sweep`: what tells one sweep script from another, and sweeps made from the facts that differ.

Knows nothing of options, plans and trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Defaults of a sweep for one purpose; the command line can override each of them."""

    settings: Mapping[str, Any]
    """Settings of `TrialConfig`, by name."""
    budgets: tuple[str, ...]
    num_trials: int
    max_inner_iterations: int = 12


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What tells one sweep script from another."""

    name: str
    """Recorded with every trial; also the name of the default RUN_DIR."""
    description: str
    full: Preset
    """For the real data set."""
    sample: Preset
    """For generated sample data."""
    smoke: Preset
    """For a check within a minute that everything works."""


def sweep_of(
    dataset: str,
    description: str,
    *,
    full: Mapping[str, Any],
    budgets: tuple[str, ...],
    small: Mapping[str, Any],
    sample_budgets: tuple[str, ...],
    smoke_budgets: tuple[str, ...],
) -> Sweep:
    """Return the sweep `<dataset>_budget`.

    Args:
        full: settings for the real data set.
        budgets: budgets for it.
        small: networks for the generated images, and their number and size.
        sample_budgets: budgets for the sample, whose images are twice as large as `small` says.
        smoke_budgets: budgets for the smoke test, which takes the images as `small` says.
    """
    small = {"dataset": dataset, **small}
    return Sweep(
        name=f"{dataset}_budget",
        description=description,
        full=Preset(settings={"dataset": dataset, **full}, budgets=budgets, num_trials=60),
        sample=Preset(
            settings=small | {"image_size": 2 * small["image_size"], "epochs": 3},
            budgets=sample_budgets,
            num_trials=12,
            max_inner_iterations=4,
        ),
        smoke=Preset(
            settings=small | {"epochs": 1},
            budgets=smoke_budgets,
            num_trials=4,
            max_inner_iterations=2,
        ),
    )


def mask_sweep(
    dataset: str,
    description: str,
    *,
    image_size: int,
    budgets: tuple[str, ...],
    sample_num_images: int,
) -> Sweep:
    """Return the sweep of U-Net on `dataset`.

    Args:
        image_size: side of the images of the real data set, in px.
        budgets: budgets for it.
        sample_num_images: number of generated images.
    """
    return sweep_of(
        dataset,
        description,
        full={
            "image_size": image_size,
            "backbone": "unet",
            "encoder": "resnet34",
            "norm": "group",  # beats batch norm when trained from scratch, see docs/results.md
            "epochs": 100,
        },
        budgets=budgets,
        small={
            "encoder": "tu-test_resnet",
            "sample_num_images": sample_num_images,
            "image_size": 128,
        },
        sample_budgets=("100MB", "200MB"),
        smoke_budgets=("52MB", "90MB"),
    )


def box_sweep(dataset: str, description: str) -> Sweep:
    """Return the sweep of FCOS on `dataset`: the paper's 4096 px and 300 epochs."""
    return sweep_of(
        dataset,
        description,
        full={"image_size": 4096, "backbone": "resnet50", "batch_size": 1, "epochs": 300},
        budgets=("4GB", "8GB", "16GB"),
        small={
            "backbone": "test_resnet",
            "latent_channels": 64,
            "sample_num_images": 16,
            "image_size": 256,
        },
        sample_budgets=("60MB", "120MB"),
        smoke_budgets=("40MB", "90MB"),
    )
