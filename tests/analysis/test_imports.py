"""The report imports no trainer and no sweep."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import analysis

ROOT = Path(__file__).resolve().parents[2]


HEAVY = ("torch", "ray", "sweeps", "patchtrain.trainer", "fsspec")


CHECK = "; import sys; print(sorted(set(sys.modules) & set({heavy!r})))"


def _heavy_modules_after(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code + CHECK.format(heavy=HEAVY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_a_whole_report_imports_no_trainer_and_no_sweep(write_run: Any, trial: Any) -> None:
    run_dir = str(write_run([trial(f"t{i}", patch_size=2**i, metric=i / 9) for i in range(9)]))
    code = f"import analysis.cli; analysis.cli.main(['report', {run_dir!r}])"
    assert _heavy_modules_after(code) == "[]"


def test_the_import_check_can_fail() -> None:
    assert "'ray'" in _heavy_modules_after("import ray")


def test_no_module_of_the_package_imports_torch() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(analysis.__path__, "analysis.")
        if not module.name.endswith("__main__")
    ]
    assert {"analysis.cli", "analysis.sections.pareto", "analysis.runs.from_optuna"} <= set(names)
    assert _heavy_modules_after(f"import {', '.join(names)}") == "[]"
