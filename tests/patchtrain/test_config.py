from __future__ import annotations

import dataclasses
import re
from itertools import pairwise

import pytest
import yaml
from conftest import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchtrain.config import TrialConfig, parse_overrides
from patchtrain.errors import ConfigError
from patchtrain.settings import from_record, recorded_value


@pytest.mark.parametrize(
    ("image_size", "patch_size", "rate", "sampled"),
    [
        (512, 128, 0.2, 3),  # the paper's Table I and text: 3 patches, 12 over 4 iterations
        (4096, 256, 0.07, 17),
        (4096, 128, 0.07, 71),
        (512, 256, 0.25, 1),
        (512, 64, 1.0, 64),
        (512, 128, 0.001, 1),
        (1000, 100, 0.29, 29),  # 0.29 * 100 is 28.999999999999996
    ],
)
def test_number_of_sampled_patches(image_size, patch_size, rate, sampled):
    config = TrialConfig(image_size=image_size, patch_size=patch_size, sampling_rate=rate)
    assert config.num_sampled == sampled


BAD = [
    (
        {"patch_size": 300, "image_size": 4096},
        "patch_size=300 does not divide image_size=4096; use one of 128, 256, 512, 1024",
    ),
    ({"patch_size": 1024}, "patch_size=1024 is larger than image_size=512; use at most 512"),
    ({"patch_size": 512}, "patch_size=512 is the whole image_size=512"),
    ({"sampling_rate": 0}, "sampling_rate=0.0 must be above 0 and at most 1"),
    ({"sampling_rate": 1.5}, "sampling_rate=1.5 must be above 0 and at most 1"),
    ({"sampling_rate": float("nan")}, "sampling_rate=nan must be"),
    ({"method": "magic"}, "method='magic' is not accepted; use one of local_global, patchgd"),
    ({"fusion": None}, "fusion=None is not accepted; use one of add, concat"),
    ({"budget": "8XB"}, "budget='8XB' is not a memory size; write"),
    ({"budget": 0}, "budget=0 is not a memory size"),
    ({"patch_size": "wide"}, "patch_size='wide' is not accepted; give a whole number"),
    ({"patch_size": 4.5}, "patch_size=4.5 is not accepted; give a whole number"),
    ({"augment": ["flip"]}, "augment=['flip'] is not accepted; use none, or some of flip, rotate"),
    ({"batch_size": True}, "batch_size=True is a truth value; give a whole number"),
    ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ({"epochs": -1}, "epochs=-1 must be at least 1"),
    ({"seed": -1}, "seed=-1 must not be negative"),
    ({"seed": 2**70}, "must be at most"),
    ({"num_workers": 10**9}, "num_workers=1000000000 must be at most 256"),
    ({"image_size": 257, "patch_size": 64}, "use an image_size that is a multiple of 64"),
    ({"patch_size": 300}, "use one of 32, 64, 128, 256, or"),
    ({"patchsize": 3}, "patchsize=3 is not a setting of a trial; did you mean patch_size?"),
    ({"zzz": 3}, "zzz=3 is not a setting of a trial; known: task, dataset"),
    ({"learning_rate": float("inf")}, "learning_rate=inf must be positive and finite"),
    ({"weight_decay": -1}, "weight_decay=-1.0 must be 0 or positive"),
    ({"val_fraction": 1}, "val_fraction=1.0 must lie between 0 and 1"),
    ({"val_fraction": 0.5, "test_fraction": 0.5}, "leaves nothing to train on"),
    ({"data_dir": 5}, "data_dir=5 is not accepted; give text"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[str(values) for values, _ in BAD])
def test_bad_settings_are_refused_in_one_line(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        TrialConfig.from_mapping(values)
    assert "\n" not in str(caught.value)


def test_whole_images_need_no_dividing_patch():
    assert TrialConfig(method="downsampled", image_size=512, patch_size=300).patch_size == 300


def test_values_are_read_as_people_write_them_in_yaml(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text("budget: 4GB\nlearning_rate: 1e-3\npatch_microbatch: null\n")
    config = TrialConfig.load(path, ["epochs=3", "data_dir=/some where"])
    assert config.budget == 4 * 10**9
    assert config.learning_rate == 1e-3
    assert config.patch_microbatch == "none"
    assert (config.epochs, config.data_dir) == (3, "/some where")


def test_a_dumped_configuration_loads_equal(tmp_path):
    config = tiny(budget=10**9, data_dir="/a b", sampling_rate=1 / 3)
    config.dump(tmp_path / "config.yaml")
    assert TrialConfig.load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words", "\x00\x01"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "trial.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"trial\.yaml: ") as caught:
        TrialConfig.load(path)
    assert "\n" not in str(caught.value)


def test_an_empty_file_gives_the_defaults(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text("")
    assert TrialConfig.load(path) == TrialConfig()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        TrialConfig.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("override", ["epochs", "=3", "epochs=[", ""])
def test_overrides_without_key_or_value_are_refused(override):
    with pytest.raises(ConfigError, match="--set"):
        parse_overrides([override])


def test_every_field_is_documented_or_plain():
    """Each field has text under it, except those whose name says everything."""
    import ast
    import inspect

    import patchtrain.config as module

    tree = ast.parse(inspect.getsource(module))
    body = next(
        n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "TrialConfig"
    ).body
    documented = {
        one.target.id
        for one, after in pairwise(body)
        if isinstance(one, ast.AnnAssign) and isinstance(after, ast.Expr)
    }
    plain = {"task", "dataset", "weight_decay"}
    assert {field.name for field in dataclasses.fields(TrialConfig)} - documented <= plain


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([f.name for f in dataclasses.fields(TrialConfig)]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(10**6), 10**6),
            st.floats(),
            st.text(max_size=5),
            st.lists(st.integers(), max_size=2),
        ),
        max_size=3,
    )
)
def test_any_values_give_a_configuration_or_one_line(values):
    try:
        config = TrialConfig.from_mapping(values)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert yaml.safe_load(yaml.safe_dump(dataclasses.asdict(config))) is not None


def test_trials_of_the_time_before_a_setting_keep_what_they_did_then(tmp_path):
    """Their global patch ran with gradient, whatever the default is today."""
    path = tmp_path / "config.yaml"
    TrialConfig.from_mapping({"dataset": "drive", "global_pass": "joint"}).dump(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("global_pass")))
    assert TrialConfig.load(path, dumped=True).global_pass == "joint"
    assert TrialConfig.load(path).global_pass == "filled"  # as a person may have written it


@pytest.mark.parametrize("value", ["x", "nan", "inf", True])
def test_a_scale_that_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match=r"fusion_scale=.*; use none, or the number"):
        TrialConfig.from_mapping({"fusion_scale": value})


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0.0), (0.5, 0.5), (None, "none"), ("none", "none"), (-1, -1.0)]
)
def test_a_scale_is_a_number_or_none(value, expected):
    config = TrialConfig.from_mapping({"fusion_scale": value})
    assert config.fusion_scale == expected
    recorded = recorded_value(TrialConfig, "fusion_scale", config.fusion_scale)
    assert from_record(TrialConfig, "fusion_scale", recorded) == expected
