"""The contract of a data set, and a class from outside the package."""

from __future__ import annotations

import sys

import pytest
from image_data import grey_image, trial, write

from patchtrain.config import TrialConfig
from patchtrain.datasets import data_set, load_dataset, sampled_names
from patchtrain.errors import ConfigError

OWN_CLASS = """
from patchtrain.datasets import DataSet, Example, Listing

class Cells(DataSet):
    layout = "one folder per class"

    def class_names(self, config):
        return ("benign", "malignant")

    def list_images(self, config, data_dir):
        examples = [
            Example(f"{name}_{path.stem}", path, number)
            for number, name in enumerate(self.class_names(config))
            for path in sorted((data_dir / name).iterdir())
        ]
        return Listing(examples=tuple(examples), class_names=self.class_names(config))
"""


@pytest.fixture
def own_name(tmp_path, monkeypatch):
    """Return the name of a data set of a user's own."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_cells.py").write_text(OWN_CLASS)
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield "my_cells:Cells"
    sys.modules.pop("my_cells", None)


def named(config: TrialConfig, name: str) -> TrialConfig:
    """Return the configuration with another data set, which need not be one of the package."""
    object.__setattr__(config, "dataset", name)
    return config


def test_a_class_from_outside_is_a_data_set(own_name, tmp_path):
    for name in ("benign", "malignant"):
        for number in range(3):
            write(tmp_path / "data" / name / f"{number}.png", grey_image())
    data = load_dataset(named(trial("panda", tmp_path / "data"), own_name))
    assert data.class_names == ("benign", "malignant")
    assert (len(data.train), len(data.val), data.is_sample) == (5, 1, False)


def test_without_a_sample_the_folder_must_be_given(own_name, tmp_path):
    assert not data_set(own_name).has_sample()
    config = named(TrialConfig(), own_name)
    with pytest.raises(ConfigError, match=r"no sample data .* a folder with one folder per class"):
        load_dataset(config)
    with pytest.raises(ConfigError, match="Cells has no generated sample data; use a folder with"):
        data_set(own_name).write_sample(tmp_path / "out", 2, 64, 0)


@pytest.mark.parametrize("name", ["image_masks", "coco"])
def test_data_sets_without_a_sample_say_what_the_folder_must_hold(name):
    with pytest.raises(ConfigError) as caught:
        load_dataset(TrialConfig.from_mapping({"dataset": name}))
    assert f"data_dir to a folder with {data_set(name).layout}" in str(caught.value)


def test_sampled_names_are_those_with_a_writer():
    assert {"panda", "drive", "aerial", "coco_mosaic", "soda", "tju"} <= set(sampled_names())
    assert not {"image_masks", "coco"} & set(sampled_names())
