"""`DataSet`: the contract of a data set; knows nothing of any one of them.

One class per data set. A class of your own, in any importable module, works like those in this
package: a configuration names it as `package.module:Name`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from patchtrain.catalog import DatasetFacts
from patchtrain.config import TrialConfig
from patchtrain.datasets.finding.listing import Listing
from patchtrain.errors import ConfigError


class DataSet(ABC):
    """A data set in a folder: what its classes are called and which images it has.

    Made without arguments and without state: whatever a method needs is in its arguments.
    """

    facts: ClassVar[DatasetFacts]
    """Task, defaults and rules; only a class of your own needs them, the catalog has ours."""

    layout: ClassVar[str]
    """The files that the folder must have, in one line for messages, e.g. `images/ and masks/`."""

    sample_version: ClassVar[int] = 1
    """Part of the name of cached samples; raise it with every change to what `write_sample`
    writes."""

    @abstractmethod
    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their numbers; looks at no data.

        Raises:
            ConfigError: a setting does not fit this data set.
        """

    @abstractmethod
    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images in `data_dir`; opens none of them.

        Raises:
            DataError: something is missing or inconsistent.
            ConfigError: a setting does not fit this data set.
        """

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write small generated data in this layout as the new folder `out`, and leave nothing
        behind if that fails. Same arguments, same bytes. Overriding it is optional.

        Raises:
            ConfigError: a number is out of range, `out` is not empty or cannot be written, or this
                data set has no generated sample.
        """
        raise ConfigError(
            f"{type(self).__name__} has no generated sample data; use a folder with {self.layout}"
        )

    @classmethod
    def has_sample(cls) -> bool:
        """Return whether `write_sample` is implemented."""
        return cls.write_sample is not DataSet.write_sample
