"""A whole sweep whose disk is full for a while: it waits, and nothing is lost or done twice."""

import time

import pytest
from integration.sweep_process import by_id, check_studies, rows_in, rows_of, starter, wait_until
from small_disk import fill, small_disk

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

NUM_TRIALS = 4
DISK_BYTES = 64 * 1024 * 1024
FULL_FOR_S = 5.0


def test_a_sweep_outlives_a_full_disk(tmp_path):
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk, starter() as start:
        out, filler, errors_path = disk / "run", disk / "filler", tmp_path / "errors.txt"
        with errors_path.open("w") as errors, (disk / "sweep.log").open("w") as log:
            sweep = start(
                out,
                *("--num-trials", str(NUM_TRIALS), "--epochs", "3", "--budgets", "60MB", "100MB"),
                stdout=log,  # on the full disk too, as with `nohup`
                stderr=errors,
            )

        def is_waiting():
            fill(filler)  # again and again: trials that end make room
            return "waiting for it" in errors_path.read_text()

        wait_until(lambda: rows_of(out), sweep)
        wait_until(is_waiting, sweep)
        full_until = time.monotonic() + FULL_FOR_S
        wait_until(lambda: is_waiting() and time.monotonic() > full_until, sweep)
        num_rows = len(rows_of(out))
        filler.unlink()
        sweep.wait(timeout=240)

        lines = errors_path.read_text().splitlines()
        assert sweep.returncode == 0, lines
        assert num_rows < NUM_TRIALS
        assert {line.rpartition("cannot be written")[2] for line in lines[::2]} == {
            " (No space left on device): waiting for it, at most 60 min; free some space"
        }
        assert all(line.endswith("can be written again") for line in lines[1::2])
        rows = rows_of(out)
        assert [row["trial_id"] for row in rows] == [f"{n:05d}" for n in range(NUM_TRIALS)]
        assert {row["status"] for row in rows} <= {"completed", "out_of_memory"}
        assert {row["epochs_done"] for row in rows if row["status"] == "completed"} == {3}
        check_studies(out, by_id(rows))
        epochs = [(row["trial_id"], row["epoch"]) for row in rows_in(out / "epochs.parquet")]
        assert len(epochs) == len(set(epochs)) == sum(row["epochs_done"] for row in rows)
        assert not list(out.glob("tune/*/*/checkpoint_*"))
        assert not list(out.rglob("*.tmp"))
        assert f"[{NUM_TRIALS}/{NUM_TRIALS}] trial" in (disk / "sweep.log").read_text()
