"""Sweep DRIVE vessel segmentation under memory budgets: `python sweeps/drive_budget.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # The packages are found from a bare clone too, and the modules beside this file only as
    # members of their package: `sweeps/` itself on the path would shadow other names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.plan import Preset, Sweep
from sweeps.run import main

_SMALL = {"dataset": "drive", "encoder": "tu-test_resnet", "sample_num_images": 16}

SWEEP = Sweep(
    name="drive_budget",
    description=(
        "Search patch size, sampling rate, inner iterations and fusion for retina vessels (DRIVE), "
        "every trial held to a memory budget."
    ),
    full=Preset(
        settings={
            "dataset": "drive",
            "image_size": 512,
            "backbone": "unet",
            "encoder": "resnet34",
            "epochs": 100,
        },
        budgets=("1GB", "2GB", "4GB"),
        num_trials=60,
    ),
    sample=Preset(
        settings=_SMALL | {"image_size": 256, "epochs": 3},
        budgets=("100MB", "200MB"),
        num_trials=12,
        max_inner_iterations=4,
    ),
    smoke=Preset(
        settings=_SMALL | {"image_size": 128, "epochs": 1},
        budgets=("52MB", "90MB"),
        num_trials=4,
        max_inner_iterations=2,
    ),
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
