"""A working folder of the user's, with the parts in it under a name of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).parent / "parts"

OF_FOLDER = ("my_parts", "wrong", "constant")
"""Modules that tests put into the working folder."""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's working folder: `my_parts/` beside what the test writes."""
    shutil.copytree(PARTS, tmp_path / "my_parts", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process works in the working folder; the modules there are forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in OF_FOLDER:
            del sys.modules[name]


@pytest.fixture
def command(folder: Path) -> Command:
    """Runs `python ARGUMENTS` in the working folder, where our packages are installed but `tests`
    is not on the path.
    """

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-P", *map(str, arguments)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run


def write_config(path: Path, **settings: object) -> Path:
    """Write a tiny trial as YAML and return its path."""
    tiny = {
        "dataset": "my_parts.datasets:Colours",
        "sample_num_images": 12,
        "image_size": 64,
        "patch_size": 32,
        "sampling_rate": 0.5,
        "inner_iterations": 1,
        "backbone": "test_resnet",
        "aggregator": "small_cnn",
        "batch_size": 2,
        "epochs": 1,
        "device": "cpu",
    }
    path.write_text(yaml.safe_dump({**tiny, **settings}))
    return path
