"""`export`: files beside the run."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.cli import main


def test_export_writes_beside_the_run(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    before = (run_dir / "trials.parquet").read_bytes()
    assert main(["export", str(run_dir)]) == 0
    printed = capsys.readouterr().out
    for name in ("pareto.png", "waste.svg", "best.tex", "trials.parquet"):
        assert (run_dir / "export" / name).exists()
        assert name in printed
    assert (run_dir / "trials.parquet").read_bytes() == before
