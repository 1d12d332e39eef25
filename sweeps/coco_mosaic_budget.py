"""Sweep detection on mosaics under memory budgets: `python sweeps/coco_mosaic_budget.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Find the packages in a bare clone too. The folder of this file must not stay on the path:
    # its modules would hide others of the same name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.presets import box_sweep
from sweeps.run import main

SWEEP = box_sweep(
    "coco_mosaic",
    (
        "Search patch size, sampling rate, inner iterations and fusion for the detection of COCO's "
        "objects on mosaics of 36 images, every trial held to a memory budget."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
