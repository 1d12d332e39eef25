"""Sweep PANDA classification under memory budgets: `python sweeps/panda_budget.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Find the packages in a bare clone too. The folder of this file must not stay on the path:
    # its modules would hide others of the same name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.presets import Preset, Sweep
from sweeps.run import main

_SMALL = {
    "backbone": "test_resnet",
    "aggregator": "small_cnn",
    "sample_num_images": 48,
}

SWEEP = Sweep(
    name="panda_budget",
    description=(
        "Search patch size, sampling rate, inner iterations and fusion on PANDA, every trial "
        "held to a memory budget."
    ),
    full=Preset(
        settings={
            "image_size": 4096,
            "backbone": "resnet50",
            "aggregator": "same",
            "epochs": 100,
        },
        budgets=("4GB", "8GB", "16GB", "24GB"),
        num_trials=60,
    ),
    sample=Preset(
        settings=_SMALL | {"image_size": 512, "epochs": 3},
        budgets=("50MB", "100MB"),
        num_trials=12,
        max_inner_iterations=4,
    ),
    smoke=Preset(
        settings=_SMALL | {"image_size": 256, "epochs": 1},
        budgets=("30MB", "80MB"),
        num_trials=4,
        max_inner_iterations=2,
    ),
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
