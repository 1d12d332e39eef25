"""What others need to know of a method, a task, a data set or a setting: the shape of each fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

Config = Any
"""A `TrialConfig`. That class is built on the catalog, so the catalog does not import it."""

Check = Callable[[Config], None]
"""Raises ConfigError if the settings break a rule of the part that has the check."""


def _no_rule(config: Config) -> None:
    """Accept every configuration."""


class Role(str, Enum):
    """What a setting is in an experiment (the terms of Google's tuning playbook)."""

    SCIENTIFIC = "scientific"
    """Its effect on metric and memory is what the sweep asks about."""
    NUISANCE = "nuisance"
    """Has to be tuned for a fair comparison, but its best value is no finding."""
    FIXED = "fixed"
    """Held at one value; the finding holds for this value only."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float


Values = tuple[Any, ...] | Range
"""The values that a sweep tries for a setting: a closed list or a range."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a sweep varies a setting."""

    role: Role
    values: Values | None = None
    """Tried where the user names none. None: the user has to name them."""
    always: bool = False
    """Whether every sweep varies it unless it is fixed."""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """How an image is trained on, as far as others need to know."""

    implementation: str = ""
    """`package.module:Name` of the class, a `methods.Method`; of a user's own class left out."""
    input_side: Literal["patch_size", "image_size"]
    """The setting that gives the side in px of what enters the backbone."""
    samples_patches: bool = False
    """Whether it cuts the image into a grid and learns from sampled patches."""
    has_latent: bool = False
    """Whether it keeps a latent block of all patches, which an aggregator reads."""
    has_global: bool = False
    """Whether the whole image, resized to a patch, joins the latent block by `fusion`."""
    may_overlap: bool = False
    """Whether it predicts patch by patch, so that patches of detection may overlap."""
    reads: tuple[str, ...] = ()
    """Settings that it reads, of those that not every method does."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Task that it cannot train -> reason and remedy, to follow `method='NAME' `."""
    leaner: str | None = None
    """Method that computes the same with less memory."""
    check: Check = _no_rule


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What is predicted, as far as others need to know."""

    implementation: str
    """`package.module:Name` of a `tasks.base.TaskParts`."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings where the user says nothing, before the fields' own defaults."""
    reads: tuple[str, ...] = ()
    """Settings that it reads, of those that not every task does."""
    patch_step_px: int = 1
    """Patch sizes that a sweep tries are multiples of it."""
    needs_patch_of_original: bool = False
    """Whether an image that is smaller than a patch counts as a mistake."""
    search: Mapping[str, Values] = field(default_factory=dict)
    """What a sweep tries, where it differs from the setting's own `Search.values`."""
    check: Check = _no_rule


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A data set, as far as others need to know."""

    implementation: str = ""
    """`package.module:Name` of the class, a `datasets.base.DataSet`; of a user's own class left
    out."""
    task: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings where the user says nothing, before those of the task."""
    reads: tuple[str, ...] = ()
    """Settings that it reads, of those that not every data set does."""
    check: Check = _no_rule
