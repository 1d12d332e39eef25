"""`paper`: the paper's tables."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.cli import main


def test_the_papers_tables_are_printed_alone_and_beside_a_run(
    write_run: Any, mixed_trials: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["paper", "--table", "VI"]) == 0
    printed = capsys.readouterr().out
    assert "| Ours | local\\_global | unet | 512 px | 128 |" in printed
    assert "Table VI, page 6" in printed
    assert main(["paper", str(write_run(mixed_trials, name="real"))]) == 0
    assert "within 10GB (table I, Ours): accuracy 0.5930, here 0.7123 (+0.1193)" in (
        capsys.readouterr().out
    )
    assert main(["paper", str(write_run([trial("a", data_is_sample=True)], name="sample"))]) == 0
    assert "cannot be compared" in capsys.readouterr().out
    assert main(["paper", str(write_run([trial("a", dataset="mine")], name="mine"))]) == 2
    assert "has no results on mine" in capsys.readouterr().err
