"""Sweep detection on TJU-DHD under memory budgets: `python sweeps/tju_budget.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # The packages are found from a bare clone too, and the modules beside this file only as
    # members of their package: `sweeps/` itself on the path would shadow other names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.presets import box_sweep
from sweeps.run import main

SWEEP = box_sweep(
    "tju",
    (
        "Search patch size, sampling rate, inner iterations and fusion for TJU-DHD's pedestrians "
        "in traffic, every trial held to a memory budget."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
