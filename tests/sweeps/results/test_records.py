"""Records of trials that no trainer could make."""

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest
import torch
from made_up_sweep import Predicted

from patchtrain.config import TrialConfig
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.record import TrialRecord, TrialStatus, read_json, read_rows, write_json, write_rows
from sweeps.results.records import infeasible_record, unstarted_record

CONFIG = TrialConfig(
    image_size=512,
    patch_size=128,
    sampling_rate=0.2,
    learning_rate=3e-4,
    backbone="resnet18",
    patch_microbatch=8,
    budget=4 * 10**9,
    seed=7,
)


def infeasible(config=CONFIG):
    return infeasible_record(config, "00003", "panda", Predicted(5_000_000_123))


def unstarted(error=None, **arguments):
    return unstarted_record(CONFIG, "00003", "panda", error or RuntimeError("gone"), **arguments)


@pytest.mark.parametrize("record", [infeasible(), unstarted()])
def test_every_setting_of_the_trial_has_its_column(record):
    shared = {f.name for f in dataclasses.fields(TrialRecord)} & {
        f.name for f in dataclasses.fields(TrialConfig)
    }
    assert len(shared) > 15
    different = {n for n in shared if getattr(record, n) != getattr(CONFIG, n)}
    assert different == {"encoder", "aggregator", "layout", "patch_microbatch"}
    assert (record.encoder, record.aggregator, record.layout) == (None, "resnet18", None)
    assert record.patch_microbatch == "8"
    assert (record.trial_id, record.sweep) == ("00003", "panda")
    assert (record.num_sampled, record.budget_bytes) == (3, 4 * 10**9)
    assert (record.metric_name, record.metric, record.epochs_done) == ("accuracy", None, 0)
    assert record.data_is_sample
    assert timedelta() <= datetime.now(timezone.utc) - record.finished_at < timedelta(hours=1)


@pytest.mark.parametrize(
    "record", [infeasible(), unstarted(), unstarted(started_at=datetime.now(timezone.utc))]
)
def test_records_come_back_from_their_files_as_they_were(record, tmp_path):
    assert TrialRecord.from_row(record.to_row()) == record
    write_json(tmp_path / "record.json", record)
    assert read_json(tmp_path / "record.json") == record
    write_rows(tmp_path / "trials.parquet", TrialRecord, [record.to_row()])
    (row,) = read_rows(tmp_path / "trials.parquet")
    assert TrialRecord.from_row(row) == record


def test_a_trial_that_was_not_launched_says_what_it_needs():
    record = infeasible()
    assert record.status is TrialStatus.PREDICTED_INFEASIBLE
    assert record.predicted_peak_bytes == 5_000_000_123
    assert record.predicted_reserved_bytes == 5_000_000_123 + 2**21
    assert (record.peak_allocated_bytes, record.started_at) == (None, None)
    assert record.group == "00003"
    assert not record.is_replicate
    assert record.error == "not launched: needs 5000000123 bytes, over the budget of 4GB"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("one\n two\n"), TrialStatus.FAILED),
        (torch.OutOfMemoryError("one two"), TrialStatus.OUT_OF_MEMORY),
        (
            BudgetExceeded("one\ttwo", budget_bytes=1, needed_bytes=2, phase="fill"),
            TrialStatus.OUT_OF_MEMORY,
        ),
    ],
)
def test_a_trial_that_died_at_its_start_says_of_what_in_one_line(error, status):
    record = unstarted(error, group="00001")
    assert record.status is status
    assert record.error == f"{type(error).__name__}: one two"
    assert record.group == "00001"
    assert record.is_replicate


def test_a_trial_outside_a_sweep_has_no_group():
    assert unstarted().group is None
    assert not unstarted().is_replicate
