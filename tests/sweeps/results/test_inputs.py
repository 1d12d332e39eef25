"""The data of a sweep is judged by what it holds, not by where it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import sweeps.panda_budget
from patchtrain.config import TrialConfig
from patchtrain.datasets import data_set, load_dataset
from patchtrain.errors import ConfigError
from sweeps.options import parser
from sweeps.plan import make_plan
from sweeps.results.inputs import Inputs, read_inputs


@pytest.fixture
def data_dir(tmp_path) -> Path:
    data_set("panda").write_sample(tmp_path / "data", num_images=18, image_size=128, seed=0)
    return tmp_path / "data"


def _inputs(data_dir, **settings) -> Inputs:
    sizes = {"image_size": 64, "patch_size": 32}
    data = load_dataset(TrialConfig(data_dir=str(data_dir), **{**sizes, **settings}))
    return Inputs(data.identity, data.listed(), None)


def _drop_row(data_dir):
    lines = (data_dir / "train.csv").read_text().splitlines()
    (data_dir / "train.csv").write_text("\n".join(lines[:-1]))


def _change_grade(data_dir):
    lines = (data_dir / "train.csv").read_text().splitlines()
    name, provider, grade, *rest = lines[1].split(",")
    lines[1] = ",".join([name, provider, str((int(grade) + 1) % 6), *rest])
    (data_dir / "train.csv").write_text("\n".join(lines))


def _nothing(data_dir):
    """Leave everything as it is."""


def test_a_copy_elsewhere_is_the_same_data(data_dir, tmp_path):
    _inputs(data_dir).write(tmp_path / "inputs.json")
    shutil.copytree(data_dir, tmp_path / "elsewhere")
    _inputs(tmp_path / "elsewhere").check_same(tmp_path / "inputs.json", "--resume")
    _inputs(data_dir, image_size=128).check_same(tmp_path / "inputs.json", "--resume")


@pytest.mark.parametrize(
    "change, settings, named",
    [
        (_drop_row, {}, "1 images are gone: "),
        (_change_grade, {}, "1 have another content or label: "),
        (_nothing, {"split_seed": 5}, "are in another split: "),
        (_nothing, {"val_fraction": 0.4}, "are in another split: "),
    ],
)
def test_other_data_is_refused_with_the_first_differences(
    data_dir, tmp_path, change, settings, named
):
    _inputs(data_dir).write(tmp_path / "inputs.json")
    change(data_dir)
    with pytest.raises(ConfigError) as refused:
        _inputs(data_dir, **settings).check_same(tmp_path / "inputs.json", "--resume")
    assert "its trials are of other data than this sweep (" in str(refused.value)
    assert named in str(refused.value)


def test_other_weights_are_refused(tmp_path):
    Inputs("a", {}, "one").write(tmp_path / "inputs.json")
    with pytest.raises(ConfigError, match="start from other weights"):
        Inputs("a", {}, "other").check_same(tmp_path / "inputs.json", "--warm-start")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data_hash": 1}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "inputs.json").write_text(content)
    with pytest.raises(ConfigError, match=r"inputs\.json: is damaged"):
        read_inputs(tmp_path / "inputs.json")


def test_a_sweep_goes_on_over_the_same_data_in_another_folder(
    data_dir, tmp_path, monkeypatch, capsys
):
    """Without running trials: the checks before the cluster is started."""

    class Reached(Exception):
        pass

    def stop(*arguments, **options):
        raise Reached

    monkeypatch.setattr("sweeps.placement.cluster.connected", stop)
    out = tmp_path / "run"
    options = ["--smoke-test", "--set", "device=cpu", "--out", str(out)]
    shutil.copytree(data_dir, tmp_path / "elsewhere")

    def start(folder, *more) -> str:
        arguments = [*options, "--data-dir", str(folder), *more]
        status = sweeps.panda_budget.main(sweeps.panda_budget.SWEEP, arguments)
        said = capsys.readouterr()
        return "went on" if "Reached" in said.err and status == 1 else said.err

    assert start(data_dir) == "went on"
    out.mkdir()
    arguments = parser(sweeps.panda_budget.SWEEP).parse_args(
        [*options, "--data-dir", str(data_dir)]
    )
    described = make_plan(sweeps.panda_budget.SWEEP, arguments).description()
    (out / "sweep.json").write_text(json.dumps(described))
    sizes = {"image_size": 256, "patch_size": 128}
    _inputs(data_dir, **sizes).write(out / "inputs.json")
    assert start(data_dir, "--resume") == "went on"
    assert start(tmp_path / "elsewhere", "--resume") == "went on"
    _change_grade(tmp_path / "elsewhere")
    assert "its trials are of other data" in start(tmp_path / "elsewhere", "--resume")
    (out / "inputs.json").unlink()  # by an earlier version
    assert "settings.data_dir=" in start(tmp_path / "elsewhere", "--resume")
