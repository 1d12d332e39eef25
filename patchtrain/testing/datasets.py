"""The contract suite of data sets.

Derive a test class from `DataSetContract` and name your data set in it. Without a `write_sample`,
override `write`, which makes a small data set in the real layout.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from patchtrain import api, catalog
from patchtrain.catalog import DatasetFacts
from patchtrain.config import TrialConfig
from patchtrain.datasets import (
    DataSet,
    Example,
    ImageData,
    Listing,
    class_names,
    data_set,
    list_images,
    load_dataset,
)
from patchtrain.datasets.finding.listing import is_file_name
from patchtrain.errors import ConfigError, DataError
from patchtrain.record import TrialStatus
from patchtrain.testing.rules import check_one_line
from patchtrain.testing.trials import TINY_OF_TASK

_SIDE_PX = 128


class DataSetContract:
    """What a data set must keep to.

    Attributes:
        dataset: the name that a configuration has, such as `my_parts:Mine`.
        settings: settings of the data set's own, such as `num_classes`.
        num_images: images of the small data set that the tests read.
    """

    dataset: str
    settings: Mapping[str, Any] = {}
    num_images = 12

    def write(self, folder: Path) -> None:
        """Create `folder`, which does not exist yet, with a data set of `num_images` images."""
        if not data_set(self.dataset).has_sample():
            pytest.fail(
                f"{self.dataset} has no write_sample, so the suite has no images: override "
                f"write(self, folder) in this class to make {self.num_images} of them",
                pytrace=False,
            )
        data_set(self.dataset).write_sample(folder, self.num_images, _SIDE_PX, 0)

    _written: Path | None = None

    @pytest.fixture
    def data_dir(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A small data set, which no test changes; written once for all tests of a class."""
        if self._written is None:
            folder = tmp_path_factory.mktemp("data") / "set"
            self.write(folder)
            type(self)._written = folder
        assert self._written is not None
        return self._written

    @pytest.fixture
    def own_copy(self, data_dir: Path, tmp_path: Path) -> Path:
        """The same, to be changed by one test."""
        return Path(shutil.copytree(data_dir, tmp_path / "copy"))

    def trial(self, data_dir: Path | None, **changes: Any) -> TrialConfig:
        """Return a tiny trial on this data set."""
        of_another = ("dataset", "data_dir", "num_classes", "sample_num_images")
        tiny = TINY_OF_TASK[catalog.dataset(self.dataset).task]
        settings = {name: value for name, value in tiny.items() if name not in of_another}
        settings |= {"image_size": _SIDE_PX, **self.settings, "dataset": self.dataset, **changes}
        if data_dir is not None:
            settings["data_dir"] = str(data_dir)
        return TrialConfig.from_mapping(settings)

    # --- facts and classes ---

    def test_it_is_a_data_set_with_facts(self) -> None:
        """The name leads to a subclass of `DataSet`, and its facts to settings that exist."""
        facts = catalog.dataset(self.dataset)
        assert isinstance(facts, DatasetFacts)
        assert facts.task in catalog.TASKS
        settings = {field.name for field in dataclasses.fields(TrialConfig)}
        assert {*facts.reads, *facts.defaults} <= settings, "facts name unknown settings"
        wanted = data_set(self.dataset)
        assert isinstance(wanted, DataSet)
        assert wanted.layout, "`layout` says nothing"
        assert "\n" not in wanted.layout

    def test_its_classes_are_known_without_data(self, tmp_path: Path) -> None:
        """Estimates ask for them where the data is not."""
        names = class_names(self.trial(tmp_path / "nowhere"))
        assert names, "no classes"
        assert len(set(names)) == len(names), "two classes have one name"
        assert names == class_names(self.trial(tmp_path / "elsewhere"))

    # --- listing ---

    def test_images_are_listed_in_order_with_ids_that_name_files(self, data_dir: Path) -> None:
        """Ids sort the images and name the files of predictions."""
        listing = list_images(self.trial(data_dir))
        ids = [example.image_id for example in listing.examples]
        assert ids, "no images"
        assert ids == sorted(ids), "not sorted by image_id"
        assert len(set(ids)) == len(ids), "an image_id occurs twice"
        assert all(map(is_file_name, ids)), "an image_id that cannot name a file"
        assert all(isinstance(example, Example) for example in listing.examples)
        assert len(listing.class_names) == len(class_names(self.trial(data_dir)))

    def test_listing_opens_no_image(self, own_copy: Path) -> None:
        """Images may be many and slow to read: only their names count."""
        before = list_images(self.trial(own_copy))
        for path in _image_files(before):
            path.write_bytes(b"not an image")
        after = list_images(self.trial(own_copy))
        assert after.image_ids == before.image_ids, "listing depends on what images hold"
        assert _image_files(after) == _image_files(before)

    def test_classes_are_numbered_from_0(self, data_dir: Path) -> None:
        """The class of an image, where it has one, is a place in `class_names`."""
        listing = list_images(self.trial(data_dir))
        numbers = {e.target for e in listing.examples if isinstance(e.target, int)}
        assert numbers <= set(range(len(listing.class_names)))

    # --- splits ---

    def test_splits_are_repeated_and_share_no_image(self, data_dir: Path) -> None:
        """Every image is in exactly one split, and always in the same."""
        data = load_dataset(self.trial(data_dir))
        assert _ids(data) == _ids(load_dataset(self.trial(data_dir)))
        found = [image_id for ids in _ids(data) for image_id in ids]
        listing = list_images(self.trial(data_dir))
        assert sorted(found) == sorted(listing.image_ids)
        if not listing.parts:
            other = load_dataset(self.trial(data_dir, split_seed=1, val_fraction=0.4))
            assert _ids(other) != _ids(data), "split_seed and val_fraction change nothing"

    # --- bad input ---

    def test_a_damaged_image_is_named_in_one_line(self, own_copy: Path) -> None:
        """And left out with `skip_bad_images`."""
        damaged = _image_files(list_images(self.trial(own_copy)))[0]
        damaged.write_bytes(b"not an image")
        with pytest.raises(DataError) as caught:
            load_dataset(self.trial(own_copy))
        check_one_line(caught.value, damaged.name)
        assert load_dataset(self.trial(own_copy, skip_bad_images=True)).num_skipped >= 1

    @pytest.mark.parametrize("exists", [False, True])
    def test_a_folder_without_the_data_is_named_in_one_line(
        self, exists: bool, tmp_path: Path
    ) -> None:
        """The message says what was expected where."""
        folder = tmp_path / "nothing_here"
        if exists:
            folder.mkdir()
        with pytest.raises((DataError, ConfigError)) as caught:
            load_dataset(self.trial(folder))
        check_one_line(caught.value, str(folder))

    # --- samples ---

    def test_samples_are_repeated_to_the_byte(self, tmp_path: Path) -> None:
        """Equal arguments write equal files, and another seed other images."""
        if not data_set(self.dataset).has_sample():
            with pytest.raises(ConfigError) as caught:
                load_dataset(self.trial(None))
            check_one_line(caught.value, "data_dir")
            return
        contents = []
        for name, seed in (("one", 0), ("same", 0), ("other", 1)):
            data_set(self.dataset).write_sample(tmp_path / name, self.num_images, _SIDE_PX, seed)
            contents.append(_contents(tmp_path / name))
        assert contents[0] == contents[1], "two samples with equal arguments differ"
        assert contents[0] != contents[2], "another seed writes the same"
        with pytest.raises(ConfigError) as refused:
            data_set(self.dataset).write_sample(tmp_path / "one", self.num_images, _SIDE_PX, 0)
        check_one_line(refused.value, str(tmp_path / "one"))

    # --- training ---

    def test_a_trial_is_estimated_trained_recorded_and_evaluated(
        self, data_dir: Path, tmp_path: Path
    ) -> None:
        """From files to a measured network, within a predicted peak that is exact."""
        config = self.trial(data_dir, method="downsampled", norm="frozen", epochs=1)
        record = api.train(config, tmp_path / "out", progress=False)
        assert record.status is TrialStatus.COMPLETED, record.error
        assert record.dataset == self.dataset
        assert record.predicted_peak_bytes == record.peak_allocated_bytes, "estimate not exact"
        evaluation = api.evaluate(tmp_path / "out")
        assert evaluation.metrics[record.metric_name] == pytest.approx(record.metric)


def _image_files(listing: Listing) -> list[Path]:
    """Return the files of the images of `listing`, in the order of their ids."""
    return [example.paths[0] for example in listing.examples]


def _ids(data: ImageData) -> list[list[str]]:
    return [[e.image_id for e in part] for part in (data.train, data.val, data.test)]


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
