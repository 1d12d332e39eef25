"""The settings that a sweep can vary: roles, default values, and which methods read them.

The only place in `sweeps` with facts about single settings, methods and tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from patchtrain.config import PATCH_METHODS
from sweeps.search.values import Range, Values


class Role(str, Enum):
    """The part that a parameter plays in the experiment (terms of Google's tuning playbook)."""

    SCIENTIFIC = "scientific"
    """Its effect on metric and memory is what the sweep asks about."""
    NUISANCE = "nuisance"
    """Has to be tuned for a fair comparison, but its best value is no finding."""
    FIXED = "fixed"
    """Held at one value; the finding holds for this value only."""


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """The facts about one setting of `TrialConfig` that a sweep can vary."""

    role: Role
    number_type: type[int] | type[float] | None = None
    """Type of the numbers in a range of its values; None: it takes closed lists only."""
    values: Values | None = None
    """Values unless the user gives others; None: worked out elsewhere, or the user must give them.
    """
    values_by_task: Mapping[str, Values] = field(default_factory=dict)
    """Task -> default values, where they differ from `values`."""


_DENSE_METHODS = ("local_global", "patchgd", "tiled", "downsampled")
_DENSE_RATES = Range(low=1e-5, high=1e-3)  # the paper: 1e-4

_SETTINGS: Mapping[str, _Setting] = {
    "patch_size": _Setting(role=Role.SCIENTIFIC),
    "sampling_rate": _Setting(
        role=Role.SCIENTIFIC,
        number_type=float,
        values=Range(low=0.05, high=0.5),  # the paper: 0.07 to 0.25
    ),
    "inner_iterations": _Setting(role=Role.NUISANCE, number_type=int),
    "fusion": _Setting(role=Role.SCIENTIFIC, values=("add", "concat")),
    "backbone": _Setting(
        role=Role.SCIENTIFIC,
        values_by_task={"segmentation": ("unet", "deeplabv3")},  # the paper's
    ),
    "encoder": _Setting(role=Role.SCIENTIFIC),
    "method": _Setting(
        role=Role.SCIENTIFIC,
        values=("local_global", "patchgd", "downsampled"),
        values_by_task={"segmentation": _DENSE_METHODS, "detection": _DENSE_METHODS},
    ),
    "learning_rate": _Setting(
        role=Role.NUISANCE,
        number_type=float,
        values=Range(low=1e-4, high=1e-2),  # the paper: 1e-3
        values_by_task={"segmentation": _DENSE_RATES, "detection": _DENSE_RATES},
    ),
    "precision": _Setting(role=Role.SCIENTIFIC, values=("fp32", "bf16")),
    "patch_microbatch": _Setting(role=Role.NUISANCE, values=("none", "auto")),
}

SEARCHABLE = tuple(_SETTINGS)
"""Every setting that a sweep can vary."""

ALWAYS_VARIED = ("patch_size", "sampling_rate", "inner_iterations", "fusion")
"""Settings that are varied unless they are fixed; not every method reads all of them."""

_PATCH_STEP_PX: Mapping[str, int] = {"segmentation": 32, "detection": 32}
"""Task -> what patch sizes are multiples of, if not 1: encoders halve a map five times, decoders
double it again, and maps of patches are tiled.
"""


def role(name: str) -> Role:
    """Return the role of the setting `name` where it is varied."""
    return _SETTINGS[name].role


def default_values(name: str, task: str) -> Values | None:
    """Return the values of the setting `name` unless the user gives others; None: it has none."""
    setting = _SETTINGS[name]
    return setting.values_by_task.get(task, setting.values)


def number_type(name: str) -> type[int] | type[float] | None:
    """Return the type of the numbers in a range of the setting `name`; None: it takes no range."""
    return _SETTINGS[name].number_type


def patch_step_px(task: str) -> int:
    """Return what the patch sizes of `task` are multiples of, in px."""
    return _PATCH_STEP_PX.get(task, 1)


def has_encoder(task: str) -> bool:
    """Whether networks of `task` have an `encoder` apart from their backbone."""
    return task != "classification"


def cuts_patches(method: str) -> bool:
    """Whether `method` cuts the image into a grid of patches, so that they must divide it."""
    return method in PATCH_METHODS


def read_by(method: str) -> frozenset[str]:
    """Return the settings among `ALWAYS_VARIED` that `method` reads."""
    if method == "local_global":
        return frozenset(ALWAYS_VARIED)
    if cuts_patches(method):
        return frozenset(ALWAYS_VARIED) - {"fusion"}
    return frozenset({"patch_size"} if method == "downsampled" else ())


def ignored_by(method: str) -> frozenset[str]:
    """Return the settings among `ALWAYS_VARIED` that make no difference to `method`."""
    return frozenset(ALWAYS_VARIED) - read_by(method)
