"""Every setting of a trial reaches its record."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import TINY, TINY_BOXES, TINY_MASKS

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus, read_rows, schema_of, write_rows
from patchtrain.recording import new_record

RENAMED = {"budget": "budget_bytes"}


def record_of(config: TrialConfig) -> TrialRecord:
    return new_record(
        config,
        trial_id="t",
        sweep=None,
        status=TrialStatus.COMPLETED,
        num_classes=3,
        data_is_sample=False,
    )


def test_every_setting_has_a_column():
    columns = set(schema_of(TrialRecord).names)
    names = {field.name for field in dataclasses.fields(TrialConfig)}
    assert {RENAMED.get(name, name) for name in names} <= columns


@pytest.mark.parametrize("config", [TINY, TINY_MASKS, TINY_BOXES], ids=lambda config: config.task)
def test_settings_come_back_from_parquet_as_they_were(config, tmp_path):
    record = record_of(config)
    write_rows(tmp_path / "trials.parquet", TrialRecord, [record.to_row()])
    (row,) = read_rows(tmp_path / "trials.parquet")
    assert TrialRecord.from_row(row) == record
    assert row["weight_decay"] == config.weight_decay
    assert row["channels_last"] == "auto" and row["skip_bad_images"] is False
    assert (row["num_classes"], row["data_dir"]) == (config.num_classes, config.data_dir)


def test_what_the_task_or_the_data_set_does_not_read_is_unknown():
    slides, boxes = record_of(TINY).to_row(), record_of(TINY_BOXES).to_row()
    for name in ("head", "max_detections", "area_ranges", "layout", "encoder"):
        assert slides.get(name) is None, name
    assert (boxes["head"], boxes["max_detections"]) == ("fcos", 20)
    assert "foreground" not in boxes and "mosaic_seed" not in boxes


def test_the_row_of_an_earlier_version_is_read_without_the_settings_it_lacks():
    row = record_of(TINY).to_row()
    for name in ("weight_decay", "augment", "data_dir"):
        row.pop(name, None)
    record = TrialRecord.from_row(row)
    assert record.setting("weight_decay") is None
    assert record.setting("patch_size") == TINY.patch_size
    assert record.setting("drop_rate") == 0.0
