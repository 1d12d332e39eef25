"""Checks the images of a listing and splits them; the same for every data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.listing import SPLITS, Listing
from patchtrain.datasets.loading.image_data import ImageData
from patchtrain.datasets.loading.looks import (
    Looks,
    copies,
    warn_of_blanks,
    warn_of_copies,
    warn_of_values,
)
from patchtrain.datasets.loading.split import complete_split, read_split
from patchtrain.datasets.loading.verify import check_images
from patchtrain.errors import ConfigError, DataError
from patchtrain.images import ValueRange

_log = logging.getLogger(__name__)


def load_splits(
    config: TrialConfig, data_dir: Path, listing: Listing, *, is_sample: bool
) -> ImageData:
    """Check the images of `listing` and divide them into train, val and test.

    If there is a `split_file`, it decides, and only the images in it are used. Otherwise the data
    set's own splits are kept, and those it lacks are drawn from its training images.

    Raises:
        DataError: something is missing, damaged or inconsistent, or a split is empty.
        ConfigError: `test_fraction` is set, but the data set has its own test images.
    """
    if config.split_file is not None:
        assignment = read_split(Path(config.split_file).expanduser(), listing.image_ids)
        usable = _usable(config, data_dir, listing.only(assignment))
    else:
        _check_test_fraction(config, data_dir, listing)
        usable = _usable(config, data_dir, listing)
        assignment = complete_split(
            usable.examples,
            listing.parts,
            config.val_fraction,
            config.test_fraction,
            config.split_seed,
        )
    by_split: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for example in usable.examples:
        by_split[assignment[example.image_id]].append(example)
    _check_not_empty(config, data_dir, by_split)
    _warn_of_odd(data_dir, usable, assignment)
    return _data(data_dir, listing, is_sample, usable, by_split)


def load_whole(
    config: TrialConfig, data_dir: Path, listing: Listing, *, is_sample: bool
) -> ImageData:
    """Check the images of `listing` and make all of them `test`; settings of splits are ignored.

    Raises:
        DataError: something is missing, damaged or inconsistent.
    """
    usable = _usable(config, data_dir, listing)
    _warn_of_odd(data_dir, usable, {example.image_id: "test" for example in usable.examples})
    return _data(data_dir, listing, is_sample, usable, {"test": usable.examples})


class _Usable(NamedTuple):
    """The images that can be trained on."""

    examples: list[Example]
    looks: Looks
    contents: Mapping[str, str]
    num_copies: int
    """Images left out because they have the pixels of another one."""


def _data(
    data_dir: Path,
    listing: Listing,
    is_sample: bool,
    usable: _Usable,
    by_split: Mapping[str, Sequence[Example]],
) -> ImageData:
    train, val, test = (tuple(by_split.get(split, ())) for split in SPLITS)
    return ImageData(
        train=train,
        val=val,
        test=test,
        class_names=listing.class_names,
        category_numbers=listing.category_numbers,
        is_sample=is_sample,
        num_skipped=len(listing) - len(usable.examples),
        num_copies=usable.num_copies,
        contents={e.image_id: usable.contents[e.image_id] for e in usable.examples},
        data_dir=data_dir,
    )


def _usable(config: TrialConfig, data_dir: Path, listing: Listing) -> _Usable:
    """Return the images that can be trained on.

    Raises:
        DataError: some cannot and must not be skipped, or none can.
    """
    examples = list(listing.examples)
    if config.values_of_images is not None:
        value_range = ValueRange(*config.values_of_images)
        examples = [replace(example, value_range=value_range) for example in examples]
    bad = dict(listing.unusable)
    looks: Looks = {}
    contents: Mapping[str, str] = {}
    if (
        config.skip_bad_images or not bad
    ):  # otherwise the known ones are enough: decoding takes long
        checked = check_images(examples, config.image_size, smallest_side_px(config))
        bad |= checked.bad
        looks, contents = checked.looks, checked.contents
    if bad and not config.skip_bad_images:
        raise DataError(
            f"{bad[min(bad)]} ({len(bad)} of {len(listing)} images cannot be used; "
            "--set skip_bad_images=true leaves them out)"
        )
    if bad and len(bad) == len(listing):
        raise DataError(
            f"{data_dir}: none of its {len(listing)} images can be used; first {bad[min(bad)]}"
        )
    for reason in bad.values():
        _log.info("skipped: %s", reason)
    groups = copies(looks) if config.drop_duplicates else []
    dropped = {name for group in groups for name in group[1:]}
    kept = {name: look for name, look in looks.items() if name not in dropped}
    return _Usable([e for e in examples if e.image_id in kept], kept, contents, len(dropped))


def _warn_of_odd(data_dir: Path, usable: _Usable, assignment: Mapping[str, str]) -> None:
    """Warn of images that can be read, but are probably not what was meant."""
    warn_of_values(data_dir, usable.looks)
    warn_of_blanks(data_dir, usable.looks)
    examples = {example.image_id: example for example in usable.examples}
    warn_of_copies(data_dir, copies(usable.looks), examples, assignment)


def smallest_side_px(config: TrialConfig) -> int:
    """Return the smallest shorter side in px that an image may have.

    Every image is resized to `image_size` before it is cut; only a slide with less than one patch
    at full resolution is treated as a mistake.
    """
    needs_patch = catalog.task(config.task).needs_patch_of_original and config.samples_patches
    return config.patch_size if needs_patch else 1


def _check_test_fraction(config: TrialConfig, data_dir: Path, listing: Listing) -> None:
    if config.test_fraction > 0 and "test" in listing.parts.values():
        raise ConfigError(
            f"test_fraction={config.test_fraction}: {data_dir} has its own test images; leave it "
            "out, or say in split_file where each image belongs"
        )


def _check_not_empty(
    config: TrialConfig, data_dir: Path, by_split: Mapping[str, Sequence[Example]]
) -> None:
    needed = ["train", "val"]
    if config.split_file is None and config.test_fraction > 0:
        needed.append("test")
    empty = [split for split in needed if not by_split[split]]
    if not empty:
        return
    counts = ", ".join(f"{split} {len(examples)}" for split, examples in by_split.items())
    if config.split_file is not None:
        remedy = f"list {empty[0]} images in split_file={config.split_file}"
    else:
        remedy = "add images: train gets one of each class first, val and test get the rest"
    raise DataError(f"{data_dir}: no images in {empty[0]} (images: {counts}); {remedy}")
