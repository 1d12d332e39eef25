"""Settings are read as they are written, not as YAML 1.1 has it."""

from __future__ import annotations

import pytest
import yaml

from patchtrain.cli import main
from patchtrain.config import TrialConfig, parse_overrides
from patchtrain.errors import ConfigError
from patchtrain.yaml_text import read_mapping, read_value


def _load(tmp_path, text: str) -> TrialConfig:
    path = tmp_path / "trial.yaml"
    path.write_text(text)
    return TrialConfig.load(path)


@pytest.mark.parametrize(
    "text, value",
    [
        ("10", 10),
        ("1_000", 1000),
        ("-3", -3),
        ("0", 0),
        ("1e-3", 1e-3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("'null'", "null"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("0o7", "0o7"),
        ("4:16", "4:16"),
        ("1:30.5", "1:30.5"),
        ("yes", "yes"),
        ("off", "off"),
        ("~", "~"),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_values_are_what_they_look_like(text, value):
    assert read_value(text, is_text=False) == value
    assert type(read_value(text, is_text=False)) is type(value)
    assert read_mapping(f"key: {text}", lambda name: False) == {"key": value}


@pytest.mark.parametrize("text", ["0123", "010", "1e3", "no", "~", "2026-01-02", "4:16", "12_3"])
def test_text_is_text_whatever_it_looks_like(tmp_path, text):
    assert TrialConfig(data_dir=text).data_dir == text
    assert _load(tmp_path, f"data_dir: {text}").data_dir == text
    assert parse_overrides([f"data_dir={text}"]) == {"data_dir": text}
    assert parse_overrides([f"data_dir='{text}'"]) == {"data_dir": text}


def test_text_may_have_colons_and_hashes():
    given = parse_overrides(["data_dir=C:\\my slides: new #3", "split_file=a: b"])
    assert given == {"data_dir": "C:\\my slides: new #3", "split_file": "a: b"}


@pytest.mark.parametrize("written, epochs", [("010", 10), ("1_0", 10), ("10.0", 10), ("'10'", 10)])
def test_numbers_are_decimal(tmp_path, written, epochs):
    assert _load(tmp_path, f"epochs: {written}").epochs == epochs


@pytest.mark.parametrize("written", ["4:16", "0x10", "0o10", "ten", "1e1000", "2026-01-02"])
def test_what_is_no_number_is_refused(tmp_path, written):
    with pytest.raises(ConfigError, match=f"epochs='?{written}'? is not accepted|epochs=inf"):
        _load(tmp_path, f"epochs: {written}")
    with pytest.raises(ConfigError):
        TrialConfig.from_mapping(parse_overrides([f"epochs={written}"]))


@pytest.mark.parametrize("written", ["yes", "on", "true", "True"])
def test_truth_values_may_be_written_as_before(tmp_path, written):
    assert _load(tmp_path, f"skip_bad_images: {written}").skip_bad_images is True


def test_a_key_given_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, "epochs: 3\nbatch_size: 2\nepochs: 5\n")
    assert str(refused.value).endswith(
        "trial.yaml: epochs is given twice (line 3); remove one of the lines"
    )


@pytest.mark.parametrize("key", ["data_dir", "budget", "epochs", "split_file"])
def test_empty_values_are_refused(tmp_path, key, capsys):
    with pytest.raises(ConfigError, match=rf"{key} is empty \(line 2\); give a value, write null"):
        _load(tmp_path, f"seed: 1\n{key}:\n")
    for override in (f"{key}=", f"{key}= "):
        with pytest.raises(ConfigError, match="is empty; give a value, or leave it out"):
            parse_overrides([override])
    (tmp_path / "ok.yaml").write_text("seed: 1\n")
    arguments = [str(tmp_path / "ok.yaml"), "--out", str(tmp_path / "out"), "--set", f"{key}="]
    assert main(["train", *arguments]) == 2
    assert "is empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_null_is_the_default(tmp_path):
    assert _load(tmp_path, "data_dir: null\nbudget: null\n") == TrialConfig()
    assert parse_overrides(["data_dir=null"]) == {"data_dir": None}


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "- 1\n- 2", "3"])
def test_what_is_no_mapping_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_own_files_are_read_back(tmp_path):
    config = TrialConfig(data_dir="010", foreground=None, weights="none", learning_rate=1e-5)
    config.dump(tmp_path / "config.yaml")
    assert TrialConfig.load(tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["data_dir"] == "010"
