"""A sweep with a method and a sampler of the user's own, on Ray's workers, and its report."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from extensions.conftest import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

METHOD = "my_parts.methods:Neighbours"
SAMPLER = "my_parts.samplers:Mutate"


@pytest.fixture
def run_dir(folder: Path, command) -> Path:
    """RUN_DIR of a finished sweep."""
    (folder / "my_parts" / "__init__.py").write_text(
        "from pathlib import Path\n"
        "with Path(__file__).with_name('imports.log').open('a') as log:\n"
        "    log.write('imported\\n')\n"
    )
    finished: subprocess.CompletedProcess[str] = command(
        ROOT / "sweeps" / "panda_budget.py",
        "--smoke-test",
        *("--image-size", "128", "--set", "sample_num_images=24"),
        *("--vary", f"method=patchgd,{METHOD}", "--sampler", SAMPLER),
        *("--budgets", "60MB", "--num-trials", "7", "--out", "run"),
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return folder / "run"


def test_own_parts_are_swept_recorded_and_reported_without_importing_them(
    run_dir: Path, folder: Path, command
) -> None:
    rows = pq.read_table(run_dir / "trials.parquet").to_pylist()
    launched = [row for row in rows if row["status"] != "predicted_infeasible"]
    assert {row["status"] for row in launched} == {"completed"}
    assert {row["method"] for row in rows} <= {"patchgd", METHOD}
    assert METHOD in {row["method"] for row in launched}
    for row in launched:
        assert row["peak_allocated_bytes"] == row["predicted_peak_bytes"]
    assert json.loads((run_dir / "sweep.json").read_text())["sampler"] == SAMPLER
    assert "imported" in (folder / "my_parts" / "imports.log").read_text()

    (folder / "my_parts" / "__init__.py").write_text("raise SystemExit('imported')\n")
    for part in ("methods", "samplers"):
        (folder / "my_parts" / f"{part}.py").write_text("raise SystemExit('imported')\n")
    reported = command("-m", "analysis", "report", run_dir)
    assert (reported.returncode, reported.stderr) == (0, "")
    assert METHOD in (run_dir / "report.html").read_text()
