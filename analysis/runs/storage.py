"""`Folder`: a RUN_DIR's files wherever they lie, on a local path or behind a URI (s3://...).

pyarrow reads the kinds of URI it knows, fsspec all others. Read only. Knows nothing of what the
files hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from analysis.errors import InputError


class Folder:
    """A folder that may lie anywhere.

    Args:
        location: a local path or a URI such as `s3://bucket/runs/panda`.

    Raises:
        InputError: nothing here can read such a URI.
    """

    def __init__(self, location: str | Path) -> None:
        self.text = str(location)
        self.is_local = "://" not in self.text
        self._files, self._path = _opened(self.text, self.is_local)
        self.place = Path(self._path) if isinstance(self._files, fs.LocalFileSystem) else None
        """Its path if it lies on this machine, even behind a URI; None elsewhere."""

    @property
    def name(self) -> str:
        """Last part of the location."""
        return self._path.rstrip("/").rpartition("/")[2] or self.text

    def check(self) -> None:
        """Raise `InputError` unless it is a folder."""
        kind = self._info(self._path).type
        if kind is not fs.FileType.Directory:
            found = "does not exist" if kind is fs.FileType.NotFound else "is not a folder"
            raise InputError(f"{self.text}: {found}; give the --out folder of a sweep")

    def path_of(self, name: str) -> str:
        """Return the path or URI of a file in it, as users write it."""
        if self.is_local:
            return str(Path(self.text) / name)
        return f"{self.text.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether a file of that name is there."""
        return self._info(self._inside(name)).type is fs.FileType.File

    def has_folder(self, name: str) -> bool:
        """Return whether a folder of that name is there."""
        return self._info(self._inside(name)).type is fs.FileType.Directory

    def changed_at(self, names: Sequence[str]) -> tuple[datetime | None, ...]:
        """Return when each file last changed; None for a file that is not there."""
        found = (self._info(self._inside(name)) for name in names)
        return tuple(each.mtime if each.type is fs.FileType.File else None for each in found)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: it cannot be read.
        """
        with self._files.open_input_stream(self._inside(name)) as stream:
            return stream.read()

    def folders(self, name: str) -> list[str]:
        """Return the names of the folders in the folder `name`; none if it is not there."""
        selector = fs.FileSelector(self._inside(name), allow_not_found=True)
        try:
            found = self._files.get_file_info(selector)
        except (OSError, pa.ArrowException):  # it is a file
            return []
        return sorted(each.base_name for each in found if each.type is fs.FileType.Directory)

    def _inside(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _info(self, path: str) -> fs.FileInfo:
        try:
            return self._files.get_file_info(path)
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.text}: cannot be read ({reason})") from None


def _opened(text: str, is_local: bool) -> tuple[fs.FileSystem, str]:
    if is_local:
        return fs.LocalFileSystem(), str(Path(text).absolute())
    try:
        return fs.FileSystem.from_uri(text)
    except (OSError, pa.ArrowException) as error:
        reason = error
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(text)
    except Exception as error:  # every file system has errors of its own
        why = " ".join(f"{reason}; {error}".split())
        raise InputError(
            f"{text}: this kind of URI cannot be read here ({why}); install what fsspec needs for "
            "it, or copy the folder"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(files)), path
