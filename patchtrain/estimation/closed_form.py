"""What a configuration allocates, from few dry runs: cached on disk, in between in closed form.

Configurations of one family (equal except for the sampled patches k and the chunk c, and with the
same number of passes) run the same events; only sizes differ, and each block's size is an affine
function of k and c. So a few members of a family give every other one, exactly. A fit that does
not reproduce the runs, or that makes no sense, is not used.

Shapes: E events, P points (members run so far), V variables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchtrain import catalog
from patchtrain.cache import cache_dir
from patchtrain.config import TrialConfig, memory_settings
from patchtrain.errors import ConfigError, one_line
from patchtrain.estimation.dry_run import dry_run, shortened
from patchtrain.files import atomic_path
from patchtrain.memory.meter import CATEGORIES
from patchtrain.memory.trace import Trace
from patchtrain.step.encoder import chunks_of
from patchtrain.tasks import check_network, parts_of

_MAX_POINTS = 5

_VARIABLES = ("sampling_rate", "patch_microbatch")
"""Settings that are variables of a family's formula."""


@dataclass(frozen=True)
class Member:
    """Where a configuration stands in its family."""

    family: str
    """Name of the family: a hash of everything that it depends on."""
    variables: tuple[int, ...]
    """[V]"""


def member_of(
    config: TrialConfig,
    num_classes: int,
    target: torch.device,
    num_validated: int,
    *,
    with_gaps: bool = False,
) -> Member:
    """Return the family of `config`, whose chunk is not `auto`, and its place in the family. With
    gaps each is a family of its own: the size of a first, smaller chunk follows no closed form.
    """
    short = shortened(config, with_gaps=with_gaps)
    values = {name: getattr(short, name) for name in memory_settings() if name not in _VARIABLES}
    variables, passes = _variables_and_passes(config, num_validated)
    described = [values, passes, num_classes, target.type, num_validated, _versions()]
    described += [variables] if with_gaps else []
    name = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]
    return Member(name, variables)


def trace_of(
    config: TrialConfig,
    num_classes: int,
    target: torch.device,
    num_validated: int | None = None,
    *,
    with_gaps: bool = False,
) -> tuple[Trace, str]:
    """Return what `config` allocates and frees, and where that came from: `cache` (it was run
    before), `closed form` or `dry run`.

    Args:
        num_validated: images of a validation batch; None: `config.batch_size`.
        with_gaps: see `dry_run`.

    Raises:
        ConfigError: the network cannot be built or trained.
    """
    num_validated = num_validated or config.batch_size
    member = member_of(config, num_classes, target, num_validated, with_gaps=with_gaps)
    # the user's own code may change under the same name: nothing about it is kept on disk, and in
    # memory only as long as its module is not loaded again
    own = catalog.own_parts(config)
    keeps = not own
    family = _families.get((member.family, own))
    if family is None:
        family = _Family.load(member.family) if keeps else _Family(None, {})
        _families[member.family, own] = family
    known = family.get(member.variables)
    if known is not None:
        return known
    try:
        trace = dry_run(config, num_classes, target, num_validated, with_gaps=with_gaps)
    except Exception as error:
        check_network(config)  # raises an error that says what is wrong
        if own and not isinstance(error, ConfigError):
            raise _failed(config, error) from error
        raise
    family.add(member.variables, trace)
    if keeps:
        family.merge(_Family.load(member.family))  # other processes run members too
        family.save(member.family)
    return trace, "dry run"


def _failed(config: TrialConfig, error: Exception) -> ConfigError:
    names = [f"{name}={value!r}" for name, value in vars(config).items() if catalog.is_own(value)]
    return ConfigError(
        f"a step with {', '.join(names)} failed without data ({one_line(error, 200)}); mend the "
        "code, or run its contract suite (patchtrain.testing)"
    )


class _Family:
    """Members that were run: one list of events, and for each its variables and sizes."""

    def __init__(self, events: Trace | None, points: dict[tuple[int, ...], np.ndarray]) -> None:
        self._events = events
        self._points = points
        self._sizes_at = _fit(points)

    @classmethod
    def load(cls, name: str) -> _Family:
        """Return the family that is on disk; an empty one if it is not there or not readable."""
        try:
            with np.load(_path(name), allow_pickle=False) as saved:
                columns = {key: saved[key] for key in ("kind", "block", "category", "phase")}
                phases = tuple(json.loads(str(saved["phases"])))
                variables, sizes = saved["variables"], saved["sizes"]
            events = Trace(num_bytes=sizes[0], phases=phases, **columns)
            events.check(len(CATEGORIES))
            if sizes.shape != (len(variables), len(events)):
                raise ValueError("sizes and events do not belong together")
            points = {
                tuple(int(v) for v in variable): size
                for variable, size in zip(variables, sizes, strict=True)
            }
            return cls(events, points)
        except Exception:  # whatever is wrong with the file, it can be made again
            return cls(None, {})

    def get(self, variables: tuple[int, ...]) -> tuple[Trace, str] | None:
        """Return the events of the member at `variables` and where they came from; None if they
        are not known yet.
        """
        if self._events is None:
            return None
        if variables in self._points:
            return self._events.with_sizes(self._points[variables]), "cache"
        sizes = None if self._sizes_at is None else self._sizes_at(variables)
        return None if sizes is None else (self._events.with_sizes(sizes), "closed form")

    def add(self, variables: tuple[int, ...], trace: Trace) -> None:
        """Add a member that was run."""
        if self._events is None or not self._events.same_events(trace):
            self._events, self._points = trace, {}
        if len(self._points) >= _MAX_POINTS:
            del self._points[next(iter(self._points))]
        self._points[variables] = trace.num_bytes
        self._sizes_at = _fit(self._points)

    def merge(self, other: _Family) -> None:
        """Add the members of `other` that are not known here, as far as there is room."""
        if self._events is None or other._events is None:
            return
        if self._events.same_events(other._events):
            unknown = {v: sizes for v, sizes in other._points.items() if v not in self._points}
            room = _MAX_POINTS - len(self._points)
            self._points |= dict(list(unknown.items())[:room])
            self._sizes_at = _fit(self._points)

    def save(self, name: str) -> None:
        """Write the family to disk if possible; the cache is no reason to stop."""
        assert self._events is not None
        events = self._events
        try:
            path = _path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    kind=events.kind,
                    block=events.block,
                    category=events.category,
                    phase=events.phase,
                    phases=np.array(json.dumps(events.phases)),
                    variables=np.array(list(self._points), dtype=np.int64),
                    sizes=np.stack(list(self._points.values())),
                )
        except OSError:
            return


_PACKAGE = Path(__file__).parents[1]

_LIBRARIES = ("torch", "timm", "torchvision", "segmentation-models-pytorch", "numpy")

_families: dict[tuple[str, tuple[Any, ...]], _Family] = {}


def _fit(
    points: dict[tuple[int, ...], np.ndarray],
) -> Callable[[tuple[int, ...]], np.ndarray | None] | None:
    """Return the function variables -> sizes [E] that goes through all `points`; None if they do
    not determine one with whole bytes per step of a variable.

    With one variable two points are enough if the line gives every block at least 0 bytes at 0; a
    line through two points of a curve bent upwards would not. With more variables it takes one
    point more than determines the function, to test it.
    """
    places = np.array(list(points), dtype=np.float64)
    if not len(places) or not places.shape[1]:
        return None
    matrix = np.hstack([np.ones((len(places), 1)), places])
    num_variables = places.shape[1]
    if np.linalg.matrix_rank(matrix) <= num_variables:
        return None
    if num_variables > 1 and len(places) < num_variables + 2:
        return None
    sizes = np.stack(list(points.values()))
    solved = np.linalg.lstsq(matrix, sizes.astype(np.float64), rcond=None)[0]
    whole = np.rint(solved).astype(np.int64)
    if not np.array_equal(matrix.astype(np.int64) @ whole, sizes):
        return None
    if num_variables == 1 and (whole < 0).any():
        return None

    def sizes_at(variables: tuple[int, ...]) -> np.ndarray | None:
        at = np.array([1, *variables], dtype=np.int64) @ whole
        return None if (at < 0).any() else at

    return sizes_at


def _variables_and_passes(
    config: TrialConfig, num_validated: int
) -> tuple[tuple[int, ...], list[int]]:
    """Return the variables of `config`, and numbers that differ between configurations that run
    different events.

    Whether the backbone has batch norm is not known here, so the numbers describe the chunks both
    as they are and as whole groups.
    """
    images, group = config.batch_size, config.inputs_per_group
    num_inputs = images * config.inputs_per_image
    variables = [config.num_sampled] if config.samples_patches else []
    wanted, groups = num_inputs, images
    if isinstance(config.patch_microbatch, int) and config.patch_microbatch < num_inputs:
        wanted = config.patch_microbatch
        groups = wanted // group
        variables.append(wanted)
    passes = [_few(group), groups]
    first = (1, min(2, images))  # `dry_run` starts with a batch of one or two
    for num_images in (*first, images, num_validated):
        inputs = num_images * config.inputs_per_image
        for at_once in (wanted, max(group, wanted // group * group)):
            at_once = min(at_once, inputs) if wanted < num_inputs else inputs
            for total in (inputs, num_images * config.num_patches, num_images):
                passes += [min(-(-total // at_once), 3), _few(min(at_once, total))]
                passes.append(_few(total - at_once) if at_once < total < 2 * at_once else 0)
    read_at_once = parts_of(config).patches_read_at_once(config)
    if read_at_once is not None and config.samples_patches:
        passes += _passes_of_head(config, read_at_once)
    return tuple(variables), passes


def _passes_of_head(config: TrialConfig, at_once: int) -> list[int]:
    """Return numbers that describe how a reader of `at_once` patches goes through an image."""
    passes = []
    for total in (config.num_sampled, config.num_patches - config.num_sampled):
        chunks = chunks_of(total, at_once) if total else []
        passes += [min(len(chunks), 3), *(_few(stop - start) for start, stop in chunks[-2:])]
    return passes


def _few(num: int) -> int:
    """Return `num`, at most 2: only a single input has both memory layouts at once."""
    return min(num, 2)


def _path(name: str) -> Path:
    return cache_dir() / "estimates" / f"{name}.npz"


@cache
def _versions() -> dict[str, str]:
    """Return what the events depend on besides the configuration: our code and the libraries."""
    sources = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        sources.update(path.read_bytes())
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"patchtrain": sources.hexdigest(), **libraries}
