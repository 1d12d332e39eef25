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


@pytest.mark.parametrize(
    "module", ["catalog", "config", "settings", "record", "units", "errors", "extension", "files"]
)
def test_facts_configurations_and_records_need_no_torch(module):
    assert "torch" not in modules_after(f"import patchtrain.{module}")


@pytest.mark.parametrize(
    ("name", "statement"), [("optuna", "import optuna"), ("torch", "import patchtrain.device")]
)
def test_the_probe_can_fail(name, statement):
    assert name in modules_after(statement)
