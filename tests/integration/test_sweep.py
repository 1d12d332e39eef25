"""Whole sweeps on sample slides: run, killed with SIGKILL, resumed, and workers that die."""

import os
import signal
from datetime import datetime, timezone
from pathlib import Path

import pytest
from integration.sweep_process import (
    by_id,
    check_studies,
    rows_in,
    rows_of,
    run_sweep,
    starter,
    wait_until,
)

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

NUM_TRIALS = 6
NUM_EPOCHS = 40


@pytest.fixture
def start_sweep():
    """Start sweeps that do not outlive the test."""
    with starter() as start:
        yield start


@pytest.fixture(scope="module")
def address():
    """A cluster of two CPUs that all sweeps of this file share."""
    import ray

    # not whatever cluster was last started here: another test may have one
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """RUN_DIR, exit status and output of a sweep that starts its own cluster."""
    out = tmp_path_factory.mktemp("sweep") / "run"
    return (out, *run_sweep(out, "--budgets", "24MB", "60MB"))


def test_a_sweep_ends_well_with_all_its_trials(finished):
    out, status, _, errors = finished
    assert (status, errors) == (0, "")
    rows = rows_of(out)
    assert [row["trial_id"] for row in rows] == [f"{number:05d}" for number in range(len(rows))]
    assert len(launched(rows)) == 4
    assert {row["budget_bytes"] for row in rows} == {24_000_000, 60_000_000}
    assert {row["data_is_sample"] for row in rows} == {True}
    for row in rows:
        fits = row["predicted_peak_bytes"] <= row["budget_bytes"]
        assert row["status"] == ("completed" if fits else "predicted_infeasible")
        if fits:
            assert row["peak_allocated_bytes"] <= row["budget_bytes"]


def test_a_sweep_says_loudly_what_it_ran_on_and_what_it_found(finished):
    out, _, output, _ = finished
    assert output.startswith("SAMPLE DATA")
    assert "[4/4] trial" in output
    assert "best in 60MB" in output
    assert f"report: {out / 'report.html'}" in output
    assert (out / "report.html").exists()


def test_every_trial_can_be_run_again_alone(finished):
    out, *_ = finished
    for row in rows_of(out):
        config = TrialConfig.load(out / "trials" / row["trial_id"] / "config.yaml")
        assert config.budget == row["budget_bytes"]
        for name in ("patch_size", "sampling_rate", "inner_iterations", "fusion", "backbone"):
            assert getattr(config, name) == row[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "metric_name"),
    [("aerial_budget", "segmentation", "mean_iou"), ("coco_mosaic_budget", "detection", "ap")],
)
def test_sweeps_of_other_tasks_run_as_that_of_slides_does(
    name, task, metric_name, tmp_path, address
):
    out = tmp_path / "run"
    arguments = ("--num-trials", "2", "--address", address)
    status, output, errors = run_sweep(out, *arguments, name=name)
    assert (status, errors) == (0, "")
    assert f"best in 90MB: {metric_name}" in output
    rows = rows_of(out)
    assert len(launched(rows)) == 2
    assert {row["task"] for row in rows} == {task}
    encoder, layout = ("tu-test_resnet", None) if task == "segmentation" else (None, "tile")
    assert {(row["encoder"], row["layout"]) for row in rows} == {(encoder, layout)}
    assert {row["metric_name"] for row in rows} == {metric_name}
    for row in launched(rows):
        assert row["status"] == "completed"
        assert row["peak_allocated_bytes"] <= row["budget_bytes"]
        assert row["metric"] == row[f"metric_{metric_name}"]


def test_finished_trials_leave_no_checkpoints(finished):
    out, *_ = finished
    assert not list(out.glob("tune/*/*/checkpoint_*"))
    assert not list(out.glob("trials/*/checkpoint.txt"))


def test_resuming_a_finished_sweep_runs_nothing(finished, address):
    out, *_ = finished
    before = rows_of(out)
    status, output, errors = run_sweep(
        out, "--budgets", "24MB", "60MB", "--resume", "--address", address
    )
    assert (status, errors) == (0, "")
    assert rows_of(out) == before
    assert "] trial" not in output


def test_a_killed_sweep_resumes_with_nothing_lost_and_nothing_repeated(
    tmp_path, address, start_sweep
):
    out = tmp_path / "run"
    arguments = ("--num-trials", str(NUM_TRIALS), "--epochs", "3", "--budgets", "24MB", "60MB")
    arguments += ("--address", address)

    def is_in_the_middle():
        return launched(rows_of(out)) and list(out.glob("trials/*/checkpoint.txt"))

    driver = start_sweep(out, *arguments)
    wait_until(is_in_the_middle, driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    killed_at = datetime.now(timezone.utc)
    before = by_id(rows_of(out))
    cut_off = {note.parent.name for note in out.glob("trials/*/checkpoint.txt")} - set(before)
    assert 0 < len(launched(before.values())) < NUM_TRIALS

    status, output, errors = run_sweep(out, *arguments, "--resume")
    assert (status, errors) == (0, "")
    assert f"resuming: {len(launched(before.values()))} finished" in output
    after = by_id(rows_of(out))
    assert len(rows_of(out)) == len(after)
    assert len(launched(after.values())) == NUM_TRIALS
    for trial_id, row in before.items():  # columns of metrics may have come since
        assert {name: value for name, value in after[trial_id].items() if name in row} == row
    assert all(row["status"] != "failed" for row in after.values())
    for trial_id in cut_off:  # went on from its checkpoint: an epoch of it is from before the kill
        assert after[trial_id]["started_at"] < killed_at
    epochs = [(row["trial_id"], row["epoch"]) for row in rows_in(out / "epochs.parquet")]
    assert len(epochs) == len(set(epochs)) == sum(row["epochs_done"] for row in after.values())
    check_studies(out, after)


def launched(rows):
    return [row for row in rows if row["status"] != TrialStatus.PREDICTED_INFEASIBLE.value]


def parent_pid(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def worker_pids():
    """Processes that run a trial on the cluster that this process started, and on no other."""
    pids = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_text()  # as Ray sets it
            is_worker = title.startswith("ray::") and "Trainable" in title
            if is_worker and parent_pid(parent_pid(entry.name)) == os.getpid():
                pids.add(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return pids


def num_epochs_of(out, trial_id):
    return len(rows_in(out / "trials" / trial_id / "epochs.parquet"))


def kill_workers(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds workers in /proc")
def test_a_trial_survives_deaths_of_its_worker_as_long_as_it_makes_progress(
    tmp_path, address, start_sweep
):
    out = tmp_path / "run"
    driver = start_sweep(
        out,
        *("--num-trials", "1", "--epochs", str(NUM_EPOCHS), "--budgets", "1GB"),
        *("--max-concurrent", "1", "--address", address),
    )
    killed_after = []
    for _ in range(2):
        # two epochs more than when its last worker died: the second may have been under way
        reached = 2 + sum(killed_after[-1:])
        wait_until(lambda reached=reached: num_epochs_of(out, "00000") >= reached, driver)
        dead = worker_pids()
        assert dead
        kill_workers(dead)
        killed_after.append(num_epochs_of(out, "00000"))
    # the next one dies before it has done anything
    wait_until(lambda: worker_pids() - dead, driver)
    kill_workers(worker_pids() - dead)
    output, errors = driver.communicate(timeout=400)
    assert driver.returncode == 1, output
    assert "1 trials failed for a reason outside them and are to run again" in errors
    (row,) = rows_of(out)
    record = TrialRecord.from_row(row)
    assert (record.status, record.failed_by) == (TrialStatus.FAILED, "environment")
    assert "died" in record.error
    assert killed_after[0] < killed_after[1] <= record.epochs_done < NUM_EPOCHS
