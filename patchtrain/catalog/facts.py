"""What the rest of the code needs to know about a method, a task, a data set or a setting."""

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
    """The sweep asks how it affects metric and memory."""
    NUISANCE = "nuisance"
    """Has to be tuned for a fair comparison, but its best value is not a finding."""
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
    """Tried if the user gives no values. None: the user has to give them."""
    always: bool = False
    """Whether every sweep varies it unless it is fixed."""


@dataclass(frozen=True, kw_only=True)
class PartFacts:
    """A part of which others need to know nothing but where it is."""

    implementation: str
    """`package.module:Name` of the class."""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """A method: how an image is trained on."""

    implementation: str = ""
    """`package.module:Name` of the class, a `methods.Method`; empty for a user's own class."""
    input_side: Literal["patch_size", "image_size"]
    """The setting that holds the side, in px, of the backbone's inputs."""
    samples_patches: bool = False
    """Whether it cuts the image into a grid and learns from sampled patches."""
    has_latent: bool = False
    """Whether it keeps a latent block of all patches, which an aggregator reads."""
    has_global: bool = False
    """Whether the whole image, resized to a patch, joins the latent block by `fusion`."""
    global_is_input: bool = True
    """Whether the whole image can be an input of its own in each inner iteration."""
    scrambles_maps: bool = False
    """Whether detection reads the maps of all patches mixed up, as the authors' code does."""
    may_overlap: bool = False
    """Whether it predicts patch by patch, so that patches may overlap in detection."""
    reads: tuple[str, ...] = ()
    """Settings that it reads and not every method does."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Task that it cannot train -> reason and remedy, shown after `method='NAME' `."""
    leaner: str | None = None
    """Method that computes the same with less memory."""
    check: Check = _no_rule


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """A task: what is predicted."""

    implementation: str
    """`package.module:Name` of a `tasks.base.TaskParts`."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of settings, which take precedence over the fields' own."""
    reads: tuple[str, ...] = ()
    """Settings that it reads and not every task does."""
    patch_step_px: int = 1
    """A sweep tries multiples of this as patch sizes."""
    needs_patch_of_original: bool = False
    """Whether an image that is smaller than a patch is treated as a mistake."""
    search: Mapping[str, Values] = field(default_factory=dict)
    """Setting -> values that a sweep tries instead of the setting's own `Search.values`."""
    check: Check = _no_rule


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A data set."""

    implementation: str = ""
    """`package.module:Name` of the class, a `datasets.base.DataSet`; empty for a user's own
    class."""
    task: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of settings, which take precedence over those of the task."""
    reads: tuple[str, ...] = ()
    """Settings that it reads and not every data set does."""
    check: Check = _no_rule
