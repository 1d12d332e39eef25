"""The run folder: what is written when, what is taken up again, and what is refused."""

import dataclasses
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from run_folder import DESCRIPTION, epoch_of, ids_of, record_of

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord, TrialStatus, read_rows
from sweeps.results.patience import PATIENCE_VARIABLE
from sweeps.results.store import RunFolder
from sweeps.search.patch_space import patch_space


def reopened(folder):
    folder.close()
    again = RunFolder(folder.path)
    again.open(DESCRIPTION)
    return again


def reopened_after_kill(folder):
    folder._lock.close()  # nothing is flushed
    folder._lock = None
    again = RunFolder(folder.path)
    again.open(DESCRIPTION)
    return again


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_rows_come_back_as_they_were(folder):
    record = record_of("00001", metrics={"accuracy": 0.5, "kappa": None})
    folder.add_record(record)
    folder.add_record(record_of("00000"))
    again = reopened(folder)
    assert [r.trial_id for r in again.records()] == ["00000", "00001"]
    assert again.records()[1] == record
    again.close()


def test_a_trial_has_one_row_however_often_it_is_written(folder):
    folder.add_record(record_of("00000", status=TrialStatus.FAILED))
    folder.add_record(record_of("00000", status=TrialStatus.COMPLETED))
    rows = read_rows(folder.trials_path)
    assert [(row["trial_id"], row["status"]) for row in rows] == [("00000", "completed")]


def test_a_row_is_on_disk_as_soon_as_it_is_added(folder):
    for number in range(3):
        folder.add_record(record_of(f"{number:05d}"))
        assert len(read_rows(folder.trials_path)) == number + 1


def test_a_write_that_fails_leaves_the_rows_before(folder, monkeypatch):
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    folder.add_record(record_of("00000"))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "replace", full_disk)
        folder.add_record(record_of("00001"))
    assert [row["trial_id"] for row in read_rows(folder.trials_path)] == ["00000"]
    folder.add_record(record_of("00002"))
    assert [row["trial_id"] for row in read_rows(folder.trials_path)] == ["00000", "00002"]


def test_epochs_repeated_after_a_cut_replace_the_first_ones(folder):
    folder.add_epoch(epoch_of("00000", 1))
    folder.add_epoch(epoch_of("00000", 2, loss=5.0))
    again = reopened(folder)
    again.add_epoch(epoch_of("00000", 2, loss=4.0))
    again.add_epoch(epoch_of("00001", 1))
    again.close()
    rows = read_rows(again.epochs_path)
    assert [(r["trial_id"], r["epoch"], r["train_loss"]) for r in rows] == [
        ("00000", 1, 1.0),
        ("00000", 2, 4.0),
        ("00001", 1, 1.0),
    ]


def test_epochs_survive_a_kill_between_two_writes_of_the_joint_file(folder):
    folder.add_epoch(epoch_of("00000", 1))
    folder._joint_epochs.credit_s = float("-inf")  # the joint file is costly and not due
    folder.add_epoch(epoch_of("00000", 2))
    assert len(read_rows(folder.epochs_path)) == 1
    again = reopened_after_kill(folder)
    again.close()
    assert [row["epoch"] for row in read_rows(again.epochs_path)] == [1, 2]


def test_nan_and_infinity_are_written_as_unknown(folder):
    folder.add_record(record_of("00000", metric=float("nan"), metrics={"kappa": float("inf")}))
    (before,) = folder.records()
    assert (before.metric, before.metrics) == (None, {"kappa": None})
    (row,) = read_rows(folder.trials_path)
    assert (row["metric"], row["metric_kappa"]) == (None, None)
    again = reopened_after_kill(folder)
    assert again.records() == [before]
    again.close()


def test_several_rows_are_added_at_once(folder):
    folder.add_record(record_of("00001", status=TrialStatus.FAILED))
    folder.add_records(record_of(f"{number:05d}", error=None) for number in range(3))
    rows = read_rows(folder.trials_path)
    assert [row["trial_id"] for row in rows] == ["00000", "00001", "00002"]
    assert {row["error"] for row in rows} == {None}


def test_rows_survive_a_kill_between_two_writes_of_the_joint_file(folder):
    first = record_of("00000", metric=0.5, metrics={"accuracy": 0.5})
    folder.add_record(first)
    folder._joint_trials.credit_s = float("-inf")  # it is costly and not due
    second = record_of("00001", started_at=None)
    folder.add_record(second)
    changed = dataclasses.replace(first, metric=0.75, error="a line\nand another")
    folder.add_record(changed)
    assert [row["metric"] for row in read_rows(folder.trials_path)] == [0.5]
    again = reopened_after_kill(folder)
    assert ids_of(again.records()) == ["00000", "00001"]
    assert again.records()[0] == changed
    assert dataclasses.replace(again.records()[1], metrics={}) == second
    again.close()
    assert [row["metric"] for row in read_rows(folder.trials_path)] == [0.75, None]


def test_joint_files_are_written_as_time_allows(tmp_path):
    now_s = [100.0]
    folder = RunFolder(tmp_path / "run", clock=lambda: now_s[0])
    folder.open(DESCRIPTION)
    folder.add_record(record_of("00000"))
    folder._joint_trials.credit_s = -0.001  # which 20 ms earn
    folder.add_record(record_of("00001"))
    assert len(read_rows(folder.trials_path)) == 1
    now_s[0] += 0.03
    folder.add_epoch(epoch_of("00002", 1))
    assert len(read_rows(folder.trials_path)) == 2
    folder.close()


def test_files_that_the_joint_one_contains_are_not_read(folder, monkeypatch):
    folder.add_records(record_of(f"{number:05d}") for number in range(20))
    folder._joint_trials.write()
    monkeypatch.setattr(TrialRecord, "from_row", None)  # which reading one needs
    again = reopened(folder)
    assert len(again._trials) == 20
    again.close()


def test_a_folder_without_files_of_trials_is_taken_up(folder):
    record = record_of("00000")
    folder.add_record(record)
    folder.close()
    (folder.trial_path("00000") / "record.json").unlink()
    again = RunFolder(folder.path)
    again.open(DESCRIPTION)
    assert again.records() == [record]
    again.add_record(record_of("00001"))
    again = reopened(again)
    assert ids_of(again.records()) == ["00000", "00001"]
    again.close()


@pytest.mark.parametrize("content", ["", '{"trial_id": "0000', "[]", '{"trial_id": "00007"}'])
def test_a_torn_file_of_a_trial_is_ignored(folder, content):
    record = record_of("00000")
    folder.add_record(record)
    folder.add_config("00001", TrialConfig())
    for trial_id in ("00000", "00001"):
        (folder.trial_path(trial_id) / "record.json").write_text(content)
    again = reopened_after_kill(folder)
    assert again.records() == [record]
    again.close()


def test_a_damaged_joint_file_is_rebuilt(folder, capsys):
    records = [record_of(f"{number:05d}") for number in range(3)]
    folder.add_records(records)
    folder.add_epoch(epoch_of("00000", 1))
    cut_in_half(folder.trials_path)
    cut_in_half(folder.epochs_path)
    again = reopened_after_kill(folder)
    assert again.records() == records
    again.close()
    assert len(read_rows(folder.trials_path)) == 3
    assert len(read_rows(folder.epochs_path)) == 1
    trials, epochs = capsys.readouterr().err.splitlines()
    assert re.search(r"trials\.parquet: is damaged \(.+\); rebuilt from 3 rows", trials)
    assert re.search(r"epochs\.parquet: is damaged \(.+\); rebuilt from 1 rows", epochs)


@pytest.mark.parametrize("damage", [cut_in_half, lambda path: path.write_bytes(b"")])
def test_a_damaged_joint_file_that_nothing_else_holds_is_refused(folder, damage):
    folder.add_record(record_of("00000"))
    folder.close()
    (folder.trial_path("00000") / "record.json").unlink()
    damage(folder.trials_path)
    for _ in range(2):  # and the folder is let go
        with pytest.raises(ConfigError, match=r"trials\.parquet: is damaged .*another --out"):
            RunFolder(folder.path).open(DESCRIPTION)


def test_the_configuration_reruns_the_trial(folder):
    config = TrialConfig(budget=8 * 10**9, patch_size=64, fusion="concat")
    folder.add_config("00000", config)
    assert TrialConfig.load(folder.trial_path("00000") / "config.yaml") == config


def test_checkpoints_are_noted_until_the_trial_is_over(folder):
    saved = folder.tune_path / "0000" / "00000" / "checkpoint_000000"
    saved.mkdir(parents=True)
    folder.add_config("00000", TrialConfig())
    folder.checkpoints.note("00000", str(saved))
    assert folder.checkpoints.found() == {"00000": str(saved)}
    folder.checkpoints.drop("00000")
    assert folder.checkpoints.found() == {}
    assert not saved.exists()


def test_checkpoints_are_found_when_the_folder_was_moved(folder, tmp_path, capsys):
    for number in range(3):
        saved = folder.tune_path / "0000" / f"{number:05}" / "checkpoint_000000"
        saved.mkdir(parents=True)
        folder.add_config(f"{number:05}", TrialConfig())
        folder.checkpoints.note(f"{number:05}", str(saved))
    # as earlier versions noted it
    (folder.trial_path("00001") / "checkpoint.txt").write_text(
        str(folder.tune_path.absolute() / "0000" / "00001" / "checkpoint_000000")
    )
    shutil.rmtree(folder.tune_path / "0000" / "00002")
    folder.close()
    moved = shutil.move(folder.path, tmp_path / "elsewhere" / "run")
    again = RunFolder(Path(moved))
    assert again.checkpoints.found() == {
        number: str(again.tune_path / "0000" / number / "checkpoint_000000")
        for number in ("00000", "00001")
    }
    assert re.fullmatch(
        r"00002: its checkpoint .*elsewhere/run/.*/checkpoint_000000 is missing; the trial begins "
        "anew\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("shift_s", [-(10**6), 10**6])
@pytest.mark.parametrize("which", ["record.json", "trials.parquet"])
def test_times_of_files_do_not_decide_which_row_wins(folder, shift_s, which):
    first = record_of("00000", metric=0.5, metrics={"accuracy": 0.5})
    folder.add_record(first)
    folder._joint_trials.credit_s = float("-inf")
    changed = dataclasses.replace(first, metric=0.75)
    folder.add_record(changed)
    for path in folder.path.rglob(which):
        shifted_ns = time.time_ns() + shift_s * 10**9
        os.utime(path, ns=(shifted_ns, shifted_ns))
    again = reopened_after_kill(folder)
    assert [record.metric for record in again.records()] == [0.75]
    again.close()
    assert [row["metric"] for row in read_rows(folder.trials_path)] == [0.75]


def test_only_the_newest_checkpoint_is_kept(folder):
    saved = [folder.tune_path / "0000" / "00000" / f"checkpoint_{n:06d}" for n in range(3)]
    for path in saved:
        path.mkdir(parents=True)
    folder.checkpoints.note("00000", str(saved[2]))
    assert [path.exists() for path in saved] == [False, False, True]


def test_every_start_has_its_own_tune_folder(folder):
    assert folder.next_start() == "0000"
    (folder.tune_path / "0000").mkdir()
    (folder.tune_path / "0009").mkdir()
    assert folder.next_start() == "0010"


# what is refused


def test_a_patience_that_is_no_time_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(PATIENCE_VARIABLE, "a while")
    with pytest.raises(ConfigError, match=f"{PATIENCE_VARIABLE}='a while' is not a number"):
        RunFolder(tmp_path / "run").check(False, DESCRIPTION)


def test_a_folder_in_use_is_refused(folder):
    with pytest.raises(ConfigError, match="is in use by a sweep"):
        RunFolder(folder.path).open(DESCRIPTION)


def test_a_folder_with_content_is_not_overwritten(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty; add --resume"):
        RunFolder(tmp_path).check(False, DESCRIPTION)


def test_resume_without_a_sweep_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"holds no sweep .*leave --resume out"):
            RunFolder(path).check(True, DESCRIPTION)


def test_the_same_sweep_may_be_resumed_whenever_it_was_started(folder):
    folder.check(True, DESCRIPTION | {"started_at": "later", "num_trials": 99})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"sweep": "other"}, 'sweep="test", this command "other"'),
        ({"budgets_bytes": [1000]}, r"budgets_bytes=\[1000, 2000\], this command \[1000\]"),
        ({"settings": {"epochs": 3, "backbone": "resnet18"}}, "settings.epochs=2, this command 3"),
        (
            {"space": patch_space(TrialConfig(), fixed={"fusion"}).describe()},
            r"space\.fusion\.\S+=",
        ),
        (
            {"space": patch_space(TrialConfig(), max_inner_iterations=3).describe()},
            r"space\.inner_iterations\.attributes\.high=12, this command 3",
        ),
    ],
)
def test_another_sweep_is_refused_with_the_difference(folder, changed, named):
    with pytest.raises(ConfigError, match=named):
        folder.check(True, DESCRIPTION | changed)


def test_a_budget_may_be_added_and_is_kept(tmp_path):
    longer = DESCRIPTION | {"budgets_bytes": [500, 1000, 2000]}
    for description in (DESCRIPTION, longer):
        folder = RunFolder(tmp_path / "run")
        folder.check((tmp_path / "run").exists(), description)
        folder.open(description)
        folder.close()
    assert folder.description() == longer
    with pytest.raises(ConfigError, match="budgets_bytes"):
        folder.check(True, DESCRIPTION)


def test_a_damaged_description_is_refused(folder):
    (folder.path / "sweep.json").write_text("{")
    with pytest.raises(ConfigError, match=r"sweep\.json: is damaged"):
        folder.check(True, DESCRIPTION)


def test_a_place_that_cannot_be_a_folder_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "file"
    file.write_text("content")
    with pytest.raises(ConfigError, match="is a file; give another folder"):
        RunFolder(file / "run").check(False, DESCRIPTION)
    assert file.read_text() == "content"


def test_description_is_written_once(folder):
    again = reopened(folder)
    again.close()
    assert json.loads((folder.path / "sweep.json").read_text()) == DESCRIPTION


def test_records_are_trial_records(folder):
    folder.add_record(record_of("00000"))
    assert isinstance(folder.records()[0], TrialRecord)


def test_a_resumed_sweep_records_what_it_was_asked_for_and_keeps_how_it_began(tmp_path):
    first = {"sweep": "s", "command": "first", "sampler": "tpe", "num_trials": 8}
    for described in (first, first | {"command": "second", "sampler": "grid", "num_trials": 9}):
        folder = RunFolder(tmp_path / "run")
        folder.open(described)
        folder.close()
    held = json.loads((tmp_path / "run" / "sweep.json").read_text())
    assert held == {"sweep": "s", "command": "first", "sampler": "grid", "num_trials": 9}
