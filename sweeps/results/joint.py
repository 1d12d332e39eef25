"""`JointFile`: one Parquet file that joins the trials' own files.

The rows of a trial go to its own file at once, and to the joint file as time allows, since
rewriting that costs more the longer the sweep is. Knows nothing of columns.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patchtrain.errors import ConfigError, not_given
from patchtrain.record import read_rows

Row = dict[str, Any]

_MAX_SHARE_OF_TIME = 0.05
"""Most of the time, as a share, that may go into rewriting a joint file."""

_OWN_FILES = "own_files"
"""Key in the metadata of a joint file: JSON object, trial id -> checksum of its own file."""

_MAX_CREDIT_S = 1.0
"""Time in seconds that rewriting may take in advance, before it has been earned."""


class JointFile:
    """A joint file: knows when to rewrite it, and finds the rows that a kill left out.

    Args:
        path: path of the joint file.
        own_name: name of the file in the folder of each trial, `trials/<id>/` next to `path`.
        read_own: returns the rows of such a file; may raise if the file is damaged.
        write: writes the whole joint file, or raises.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        path: Path,
        own_name: str,
        read_own: Callable[[Path], list[Row]],
        write: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.is_stale = False
        self.credit_s = _MAX_CREDIT_S
        self._own_name = own_name
        self._read_own = read_own
        self._write = write
        self._clock = clock
        self._credited_at = clock()
        self._sums: dict[str, int] = {}

    def is_due(self) -> bool:
        """Whether the file is stale, and the time to write it has been earned."""
        now = self._clock()
        earned_s = (now - self._credited_at) * _MAX_SHARE_OF_TIME
        self.credit_s = min(_MAX_CREDIT_S, self.credit_s + earned_s)
        self._credited_at = now
        return self.is_stale and self.credit_s > 0

    def note(self, trial_id: str) -> None:
        """Take note that the trial's own file was written."""
        self.is_stale = True
        self._sums.pop(trial_id, None)
        with suppress(OSError):  # without a sum it is read again at the next start
            self._sums[trial_id] = _sum_of(self._own_path(trial_id))

    def notes(self) -> dict[str, str]:
        """Return what the file's metadata must hold: which own files its rows come from."""
        return {_OWN_FILES: json.dumps(self._sums)}

    def write(self) -> None:
        """Rewrite the file."""
        started_at = self._clock()
        self._write()
        self.is_stale = False
        self.credit_s -= self._clock() - started_at

    def read(self) -> list[Row]:
        """Return the rows of the file, then those of own files that are others or missing in it:
        a trial writes its own file first. Times of files say nothing once a folder was copied.

        If there are any of the latter, the file is stale. Damaged own files are ignored; a damaged
        joint file is moved aside.

        Raises:
            ConfigError: the file is damaged, and there are no own files to rebuild it from.
        """
        rows: list[Row] = []
        contained: dict[str, int] = {}
        damage = None
        if self.path.exists():
            try:
                rows, contained = read_rows(self.path), _noted(self.path)
            except (pa.ArrowException, OSError) as error:
                damage = _damage(error)
        with_rows = {row["trial_id"] for row in rows}
        own_rows: list[Row] = []
        for path in sorted(self.path.parent.glob(f"trials/*/{self._own_name}")):
            trial_id = path.parent.name
            self._sums[trial_id] = _sum_of(path)
            if trial_id not in with_rows or contained.get(trial_id) != self._sums[trial_id]:
                own_rows += self._own_rows(path)
        if damage is not None:
            self._set_aside(damage, len(own_rows))
        self.is_stale = bool(own_rows)
        return rows + own_rows

    def _own_path(self, trial_id: str) -> Path:
        return self.path.parent / "trials" / trial_id / self._own_name

    def _own_rows(self, path: Path) -> list[Row]:
        try:
            return [row for row in self._read_own(path) if row["trial_id"] == path.parent.name]
        except OSError as error:
            if not_given(error) is not None:  # a finished trial must not be taken for none
                raise
            return []
        except (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError):
            return []

    def _set_aside(self, damage: str, num_own_rows: int) -> None:
        """Move the damaged file out of the way of a new one.

        Raises:
            ConfigError: there are no rows to rebuild it from.
        """
        source = f"trials/*/{self._own_name}"
        if num_own_rows == 0:
            raise ConfigError(
                f"{self.path}: is damaged ({damage}), and there is no {source} to rebuild it from; "
                "restore the file from a copy, or give another --out"
            )
        aside = self.path.with_name(f"{self.path.name}.damaged")
        self.path.replace(aside)
        print(
            f"{self.path}: is damaged ({damage}); rebuilt from {num_own_rows} rows in {source}, "
            f"the damaged file is kept as {aside.name}",
            file=sys.stderr,
            flush=True,
        )


def _sum_of(path: Path) -> int:
    """Return the checksum of a file's content."""
    return zlib.crc32(path.read_bytes())


def _noted(path: Path) -> dict[str, int]:
    """Return the checksum of each own file that the rows of a joint file come from."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(_OWN_FILES.encode(), b"{}")))


def _damage(error: Exception) -> str:
    """Return what is wrong with the content of a Parquet file, in one line.

    Raises:
        OSError: the content is not to blame; the storage could not read it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    return " ".join(str(error).split())[:160]
