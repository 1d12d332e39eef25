"""Sweep detection on COCO's mosaics under memory budgets: `python sweeps/coco_mosaic_budget.py
--help`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # The packages are found from a bare clone too, and the modules beside this file only as
    # members of their package: `sweeps/` itself on the path would shadow other names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.plan import Preset, Sweep
from sweeps.run import main

_SMALL = {
    "dataset": "coco_mosaic",
    "backbone": "test_resnet",
    "latent_channels": 64,
    "sample_num_images": 16,
}

SWEEP = Sweep(
    name="coco_mosaic_budget",
    description=(
        "Search patch size, sampling rate, inner iterations and fusion for the detection of COCO's "
        "objects on mosaics of 36 images, every trial held to a memory budget."
    ),
    full=Preset(
        settings={
            "dataset": "coco_mosaic",
            "image_size": 4096,
            "backbone": "resnet50",
            "batch_size": 1,
            "epochs": 300,
        },
        budgets=("4GB", "8GB", "16GB"),
        num_trials=60,
    ),
    sample=Preset(
        settings=_SMALL | {"image_size": 512, "epochs": 3},
        budgets=("60MB", "120MB"),
        num_trials=12,
        max_inner_iterations=4,
    ),
    smoke=Preset(
        settings=_SMALL | {"image_size": 256, "epochs": 1},
        budgets=("40MB", "90MB"),
        num_trials=4,
        max_inner_iterations=2,
    ),
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
