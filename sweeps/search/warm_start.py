"""`known_trials`: the trials of earlier sweeps that a new one learns from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord, TrialStatus, read_rows, setting_names
from sweeps.search.settings import INPUTS, with_newer_settings, without_places
from sweeps.search.space import Space, recorded

_TEACHES = frozenset(
    {
        TrialStatus.COMPLETED,
        TrialStatus.OUT_OF_MEMORY,
        TrialStatus.PREDICTED_INFEASIBLE,
        TrialStatus.STOPPED_EARLY,
    }
)
_MAY_DIFFER = ("seed",)
"""Settings that need not be the same: trials with another seed are just as good a hint."""


@dataclasses.dataclass(frozen=True)
class Known:
    """What one earlier sweep found out."""

    run_dir: Path
    records: tuple[TrialRecord, ...]
    """The records that count here, under ids that no trial of this sweep has."""
    num_outside: int
    """Number of trials that lie outside the space of this sweep."""

    def on(self, device: str) -> tuple[TrialRecord, ...]:
        """Return the records of trials on this kind of device, `cpu` or `cuda`.

        Peaks of another kind would mislead. Trials that were not launched belong to the device
        that the others ran on.
        """
        ran_on = {_device_kind(record) for record in self.records} - {None}
        return tuple(
            record
            for record in self.records
            if _device_kind(record) == device
            or (_device_kind(record) is None and ran_on <= {device})
        )


def _device_kind(record: TrialRecord) -> str | None:
    """Return the kind of device that a trial ran on; None: it was not launched, or ended before it
    had one.
    """
    if record.status is TrialStatus.PREDICTED_INFEASIBLE or record.device in (None, "auto"):
        return None
    return "cpu" if record.device == "cpu" else "cuda"


def known_trials(
    run_dirs: Sequence[Path], space: Space, settings: Mapping[str, Any]
) -> list[Known]:
    """Return the trials of the sweeps in `run_dirs` that say something about `space`.

    Args:
        settings: settings that all trials of this sweep share, as written to `sweep.json`.

    Raises:
        ConfigError: a folder holds no sweep, a damaged one, or one whose trials cannot be compared;
            the message names the first setting that differs.
    """
    return [_known(run_dir, space, settings) for run_dir in run_dirs]


def _known(run_dir: Path, space: Space, settings: Mapping[str, Any]) -> Known:
    earlier, varied_there, trials = _read(run_dir)
    # as JSON has them, so that lists and tuples compare equal
    wanted = json.loads(json.dumps(dict(settings)))
    earlier = with_newer_settings(earlier, wanted)
    if (run_dir / INPUTS).exists():
        earlier = without_places(earlier, wanted)
    _check_comparable(run_dir, earlier, varied_there, wanted)
    fixed_here = {
        name: value
        for name, value in settings.items()
        if name in varied_there and name in setting_names()
    }
    records, num_outside = [], 0
    for record in trials:
        if record.status not in _TEACHES or record.is_replicate:
            continue
        same = all(recorded(record, name) == value for name, value in fixed_here.items())
        if not (same and space.contains(space.params(record))):
            num_outside += 1
            continue
        name = f"{run_dir}/{record.trial_id}"  # two folders of the same name may be given
        records.append(dataclasses.replace(record, trial_id=name, group=name))
    return Known(run_dir, tuple(records), num_outside)


def _read(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any], list[TrialRecord]]:
    """Return the shared settings, the space and the trials of an earlier sweep."""
    try:
        described = json.loads((run_dir / "sweep.json").read_text())
        settings, space = dict(described["settings"]), dict(described["space"])
        rows = read_rows(run_dir / "trials.parquet")
        return settings, space, [TrialRecord.from_row(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise ConfigError(
            f"--warm-start {run_dir}: holds no readable sweep "
            f"({type(error).__name__}: {' '.join(str(error).split())[:120]}); give the --out "
            "folder of an earlier one"
        ) from None


def _check_comparable(
    run_dir: Path,
    earlier: Mapping[str, Any],
    varied_there: Collection[str],
    settings: Mapping[str, Any],
) -> None:
    for name, value in settings.items():
        if name in varied_there or name in _MAY_DIFFER:  # the rows have what was varied
            continue
        if earlier.get(name, value) != value:
            raise ConfigError(
                f"--warm-start {run_dir}: its trials have {name}={json.dumps(earlier.get(name))}, "
                f"this sweep {json.dumps(value)}, so they cannot be compared; give the same, or "
                "leave --warm-start out"
            )
