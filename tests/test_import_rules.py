"""Who may import whom; checked by running an import and looking at what came along."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in run.stdout.split()}


@pytest.mark.parametrize(
    "statement", ["import patchtrain.trainer, patchtrain.cli, patchtrain.commands.train"]
)
def test_trainers_import_neither_ray_nor_optuna_nor_the_other_packages(statement):
    assert modules_after(statement).isdisjoint({"ray", "optuna", "sweeps", "analysis"})


def test_records_need_no_torch():
    assert "torch" not in modules_after("import patchtrain.record, patchtrain.units")


def test_the_probe_can_fail():
    assert "optuna" in modules_after("import optuna")
