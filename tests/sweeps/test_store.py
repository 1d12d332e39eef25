"""The run folder: what is written when, what is taken up again, and what is refused."""

import dataclasses
import json
import os
from datetime import datetime, timezone

import pytest

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus, read_rows
from sweeps.spaces import patch_space
from sweeps.store import RunFolder
from sweeps.trainable import unstarted_record

DESCRIPTION = {
    "sweep": "test",
    "budgets_bytes": [1000, 2000],
    "space": patch_space(TrialConfig()).describe(),
    "settings": {"epochs": 2, "backbone": "resnet18"},
    "started_at": "2026-01-01",
}


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(DESCRIPTION)
    yield folder
    folder.close()


def reopened(folder):
    folder.close()
    again = RunFolder(folder.path)
    again.open(DESCRIPTION)
    return again


def record_of(trial_id, **changes):
    record = unstarted_record(
        TrialConfig(budget=1000), trial_id, "test", RuntimeError("gone"), datetime.now(timezone.utc)
    )
    return dataclasses.replace(record, **changes)


def epoch_of(trial_id, epoch, loss=1.0):
    return EpochRecord(
        trial_id=trial_id,
        epoch=epoch,
        train_loss=loss,
        learning_rate=1e-3,
        metric_name="accuracy",
        metric=0.5,
        train_time_s=1.0,
        validation_time_s=1.0,
        images_per_s=1.0,
    ).to_row()


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
    folder._epochs_due_at = float("inf")  # the joint file is costly and not due
    folder.add_epoch(epoch_of("00000", 2))
    assert len(read_rows(folder.epochs_path)) == 1
    folder._lock.close()  # as a kill does; nothing is flushed
    folder._lock = None
    again = RunFolder(folder.path)
    again.open(DESCRIPTION)
    again.close()
    assert [row["epoch"] for row in read_rows(again.epochs_path)] == [1, 2]


def test_the_configuration_reruns_the_trial(folder):
    config = TrialConfig(budget=8 * 10**9, patch_size=64, fusion="concat")
    folder.add_config("00000", config)
    assert TrialConfig.load(folder.trial_path("00000") / "config.yaml") == config


def test_checkpoints_are_noted_until_the_trial_is_over(folder):
    saved = folder.tune_path / "0000" / "00000" / "checkpoint_000000"
    saved.mkdir(parents=True)
    folder.add_config("00000", TrialConfig())
    folder.note_checkpoint("00000", str(saved))
    assert folder.checkpoints() == {"00000": str(saved)}
    folder.drop_checkpoints("00000")
    assert folder.checkpoints() == {}
    assert not saved.exists()


def test_every_start_has_its_own_tune_folder(folder):
    assert folder.next_start() == "0000"
    (folder.tune_path / "0000").mkdir()
    (folder.tune_path / "0009").mkdir()
    assert folder.next_start() == "0010"


# what is refused


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
