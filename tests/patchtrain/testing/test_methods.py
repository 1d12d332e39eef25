"""Every method of the catalog passes the suite."""

from __future__ import annotations

import pytest

from patchtrain import catalog
from patchtrain.testing import MethodContract

pytestmark = pytest.mark.slow

# each method on what it shares with no other: `patchgd` is `local_global` without a global patch,
# `full` is `downsampled` at full size; `test_dry_run` has every task's estimates of all
_TASKS = {
    "patchgd": ("classification", "detection"),
    "downsampled": ("classification", "segmentation"),
    "full": ("classification",),
}

for _name in catalog.METHODS:
    _values = {"method": _name, "tasks": _TASKS.get(_name)}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (MethodContract,), _values)

for _task, _global_pass in (
    ("classification", "joint"),
    ("segmentation", "joint"),
    ("detection", "filled"),
):  # what is not the task's default
    _values = {
        "method": "local_global",
        "tasks": (_task,),
        "settings": {"global_pass": _global_pass, "fusion_scale": 0.0},
    }
    _name = f"Test_local_global_{_global_pass}_in_{_task}"
    globals()[_name] = type(_name, (MethodContract,), _values)
