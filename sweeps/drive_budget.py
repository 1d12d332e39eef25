"""Sweep DRIVE vessel segmentation under memory budgets: `python sweeps/drive_budget.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Find the packages in a bare clone too. The folder of this file must not stay on the path:
    # its modules would hide others of the same name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.presets import mask_sweep
from sweeps.run import main

SWEEP = mask_sweep(
    "drive",
    (
        "Search patch size, sampling rate, inner iterations and fusion for retina vessels (DRIVE), "
        "every trial held to a memory budget."
    ),
    image_size=512,
    budgets=("1GB", "2GB", "4GB"),
    sample_num_images=16,
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
