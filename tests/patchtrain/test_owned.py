"""One owner at a time for a folder of results."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from patchtrain.cli import main
from patchtrain.commands.train import train
from patchtrain.errors import ConfigError
from patchtrain.owned import LOCK, Owned
from patchtrain.trainer import Trainer

_HOLD = """
import sys, time
from pathlib import Path
from patchtrain.owned import Owned
with Owned(Path(sys.argv[1]), "lock", "a trial"):
    print("held", flush=True)
    time.sleep(60)
"""


def _owned(folder) -> Owned:
    return Owned(folder, LOCK, "a trial")


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path):
    with _owned(tmp_path / "out"), pytest.raises(ConfigError) as refused:
        _owned(tmp_path / "out").__enter__()
    assert f"is in use by a trial that is running (process {os.getpid()} on " in str(refused.value)
    assert list((tmp_path / "out").iterdir()) == []
    with _owned(tmp_path / "out"):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_owns_nothing(tmp_path, number):
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=f"process {process.pid} on"):
            _owned(tmp_path).__enter__()
        process.send_signal(number)
    with _owned(tmp_path):
        pass


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), _owned(tmp_path):
        pass
    assert f"{tmp_path}: its file system offers no locks (No locks available)" in caplog.text


@pytest.fixture
def trial(tmp_path):
    """A configuration on sample data."""
    settings = {
        "image_size": 128, "patch_size": 32, "inner_iterations": 1, "backbone": "test_resnet",
        "aggregator": "small_cnn", "epochs": 2, "device": "cpu", "sample_num_images": 12,
    }  # fmt: skip
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "trial.yaml"


def test_of_two_starts_at_once_one_trains_and_one_is_refused(trial, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "patchtrain.cli", "train", str(trial), "--out", str(out)]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    (refused,) = (text for text, p in zip(said, both, strict=True) if p.returncode == 2)
    assert "is in use by a trial" in refused or "is not empty" in refused
    assert json.loads((out / "record.json").read_text())["epochs_done"] == 2
    assert LOCK not in {path.name for path in out.iterdir()}


def test_a_start_that_was_overtaken_while_it_made_ready_is_refused(trial, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def slow(*arguments, **options):
        made = Trainer(*arguments, **options)
        out.mkdir()
        (out / "config.yaml").write_text("of the other start")
        return made

    monkeypatch.setattr("patchtrain.commands.train.Trainer", slow)
    for resume in (False, True):
        with pytest.raises(ConfigError, match="is not empty"):
            train(trial, [], out, resume=resume)
        assert (out / "config.yaml").read_text() == "of the other start"
        shutil.rmtree(out)


def test_a_trial_that_runs_cannot_be_resumed_beside_it(trial, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", str(trial), "--out", str(out)]) == 0
    (out / "record.json").unlink()
    before = sorted(path.name for path in out.iterdir())
    with _owned(out):
        assert main(["train", str(trial), "--out", str(out), "--resume"]) == 2
        assert "is in use by a trial" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == before


def test_bad_input_leaves_no_folder(trial, tmp_path):
    for wrong in ("data_dir=/nowhere", "backbone=nonsense"):
        assert main(["train", str(trial), "--out", str(tmp_path / "o"), "--set", wrong]) == 2
        assert not (tmp_path / "o").exists()


def test_evaluate_writes_elsewhere_and_cleans_up_after_a_kill(trial, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", str(trial), "--out", str(out)]) == 0
    capsys.readouterr()
    elsewhere = tmp_path / "predictions"
    assert main(["evaluate", str(out), "--out", str(elsewhere), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_skipped"] == 0
    assert [path.name for path in elsewhere.iterdir()] == ["predictions.parquet"]
    assert not (out / "predictions.parquet").exists()
    (tmp_path / "file").touch()
    assert main(["evaluate", str(out), "--out", str(tmp_path / "file")]) == 2
    assert "is a file; give another folder" in capsys.readouterr().err


@pytest.mark.parametrize("fails_in", ["add", "_finish"])
def test_a_disk_that_fills_up_does_not_cost_the_measurement(
    trial, tmp_path, capsys, monkeypatch, fails_in
):
    from patchtrain.tasks.predictions import Predictions

    out = tmp_path / "out"
    assert main(["train", str(trial), "--out", str(out)]) == 0
    assert main(["evaluate", str(out), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    (out / "predictions.parquet").unlink()

    def fail(self, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "x"))

    monkeypatch.setattr(Predictions, fails_in, fail)
    assert main(["evaluate", str(out), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == whole
    assert f"could not be written ({out / 'x'}: No space left on device); give another --out" in (
        said.err
    )
    assert not (out / "predictions.parquet").exists()
