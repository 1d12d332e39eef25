"""How settings are declared: bounds, types, and the way into a column and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.settings import column_type, from_record, recorded_value


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("patch_microbatch", 8, "8"),
        ("patch_microbatch", "auto", "auto"),
        ("channels_last", True, "true"),
        ("channels_last", False, "false"),
        ("channels_last", "auto", "auto"),
        ("skip_bad_images", True, True),
        ("patch_size", 64, 64),
        ("learning_rate", 1e-3, 1e-3),
        ("data_dir", "8", "8"),  # a folder that is called so
        ("data_dir", None, None),
    ],
)
def test_a_setting_comes_back_from_its_column_as_it_was(name, value, held):
    assert recorded_value(TrialConfig, name, value) == held
    back = from_record(TrialConfig, name, held)
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("patch_size", "int"), ("drop_rate", "float"), ("foreground", "str"), ("budget", "int"),
     ("skip_bad_images", "bool"), ("channels_last", "str"), ("norm", "str")],
)  # fmt: skip
def test_columns_have_the_type_of_the_setting(name, kind):
    assert column_type(TrialConfig, name) == kind


def test_a_configuration_made_in_python_is_checked_like_one_from_a_file():
    assert TrialConfig(budget="2GB").budget == 2 * 10**9
    assert TrialConfig(data_dir=Path("/data")).data_dir == "/data"
    assert TrialConfig(image_size="512").image_size == 512
    with pytest.raises(ConfigError, match=r"epochs=1\.5 is not accepted; give a whole number"):
        TrialConfig(epochs=1.5)
    with pytest.raises(ConfigError, match="batch_size=True is a truth value"):
        TrialConfig(batch_size=True)
