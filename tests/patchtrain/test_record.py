from __future__ import annotations

from datetime import datetime, timezone

import pyarrow.parquet as pq
import pytest

from patchtrain.files import atomic_path
from patchtrain.record import (
    EpochRecord,
    TrialRecord,
    TrialStatus,
    read_json,
    read_rows,
    schema_of,
    write_json,
    write_rows,
)

DESIGNED_COLUMNS = (
    "trial_id sweep status task dataset data_is_sample method image_size patch_size sampling_rate "
    "num_sampled inner_iterations fusion backbone aggregator precision batch_size "
    "patch_microbatch budget_bytes predicted_peak_bytes peak_allocated_bytes peak_reserved_bytes "
    "peak_process_bytes metric_name metric epochs_done train_time_s images_per_s num_parameters "
    "seed device error started_at finished_at versions"
)


def record(**changes) -> TrialRecord:
    values = {
        "trial_id": "00001",
        "sweep": None,
        "status": TrialStatus.COMPLETED,
        "task": "classification",
        "dataset": "panda",
        "data_is_sample": True,
        "method": "local_global",
        "image_size": 512,
        "patch_size": 64,
        "sampling_rate": 0.2,
        "num_sampled": 12,
        "inner_iterations": 2,
        "fusion": "add",
        "backbone": "resnet18",
        "aggregator": "resnet18",
        "norm": "batch",
        "precision": "fp32",
        "batch_size": 4,
        "accumulation_steps": 1,
        "learning_rate": 1e-3,
        "patch_microbatch": "none",
        "budget_bytes": 10**9,
        "metric_name": "accuracy",
        "metric": 0.5,
        "metrics": {"accuracy": 0.5, "kappa": None},
        "epochs": 2,
        "seed": 0,
        "device": "cpu",
        "started_at": datetime(2026, 1, 2, tzinfo=timezone.utc),
    }
    return TrialRecord(**(values | changes))


def test_a_row_has_the_designed_columns_and_its_metrics():
    row = record().to_row()
    assert set(DESIGNED_COLUMNS.split()) <= set(row)
    assert row["metric_accuracy"] == 0.5
    assert row["metric_kappa"] is None
    assert row["status"] == "completed"


def test_statuses_are_the_designed_ones():
    words = {"completed", "out_of_memory", "predicted_infeasible", "stopped_early", "failed"}
    assert {status.value for status in TrialStatus} == words


def test_rows_survive_parquet_with_unknown_as_null(tmp_path):
    rows = [record().to_row(), record(trial_id="00002", metric=None, metrics={}).to_row()]
    write_rows(tmp_path / "trials.parquet", TrialRecord, rows)
    back = read_rows(tmp_path / "trials.parquet")
    assert TrialRecord.from_row(back[0]) == record()
    assert back[1]["metric"] is None
    assert back[1]["metric_accuracy"] is None
    assert back[1]["peak_process_bytes"] is None
    assert pq.read_schema(tmp_path / "trials.parquet").equals(
        schema_of(TrialRecord, ["accuracy", "kappa"])
    )


def test_a_record_survives_json(tmp_path):
    write_json(tmp_path / "record.json", record())
    assert read_json(tmp_path / "record.json") == record()


def test_no_file_means_no_rows(tmp_path):
    assert read_rows(tmp_path / "none.parquet") == []


def test_epoch_rows_survive_parquet(tmp_path):
    epoch = EpochRecord(
        trial_id="1",
        epoch=1,
        train_loss=1.0,
        learning_rate=1e-3,
        metric_name="accuracy",
        metric=0.5,
        metrics={"accuracy": 0.5},
        train_time_s=1.0,
        validation_time_s=1.0,
        images_per_s=1.0,
    )
    write_rows(tmp_path / "epochs.parquet", EpochRecord, [epoch.to_row()])
    (row,) = read_rows(tmp_path / "epochs.parquet")
    assert row == epoch.to_row()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]
