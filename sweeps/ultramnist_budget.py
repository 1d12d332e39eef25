"""Sweep UltraMNIST under memory budgets: `python sweeps/ultramnist_budget.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Find the packages in a bare clone too. The folder of this file must not stay on the path:
    # its modules would hide others of the same name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.presets import sweep_of
from sweeps.run import main

SWEEP = sweep_of(
    "ultramnist",
    (
        "Search patch size, sampling rate, inner iterations and fusion on UltraMNIST, sums of "
        "digits of very different sizes, every trial held to a memory budget; `--vary "
        "backbone=resnet50,mobilenetv2_100` tries both of the paper's networks."
    ),
    full={"image_size": 512, "backbone": "resnet50", "aggregator": "same", "epochs": 100},
    budgets=("4GB",),  # the paper's Jetson Nano
    small={
        "backbone": "test_resnet",
        "aggregator": "small_cnn",
        "sample_num_images": 140,
        "image_size": 256,
    },
    sample_budgets=("50MB", "100MB"),
    smoke_budgets=("30MB", "80MB"),
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
