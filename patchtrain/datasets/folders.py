"""Finds the files of a data set in its folders; opens none of them.

Hidden files (`.DS_Store`, `._a.png`) and files that are no pictures are passed over; suffixes may
be in upper case.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from patchtrain.errors import DataError
from patchtrain.images import SUFFIXES


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder; False also where that cannot be told."""
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises where a parent is closed


def check_data_dir(data_dir: Path, layout: str) -> None:
    """Raise DataError, which tells the `layout`, unless `data_dir` is a folder."""
    if not is_folder(data_dir):
        raise DataError(f"data_dir={data_dir}: is no folder; {layout}; correct data_dir")


def find_root(data_dir: Path, is_root: Callable[[Path], bool], layout: str) -> Path:
    """Return the folder that has the layout: `data_dir`, or the only such folder in it.

    Raises:
        DataError: none has it, or several in `data_dir` have.
    """
    check_data_dir(data_dir, layout)
    if is_root(data_dir):
        return data_dir
    roots = [folder for folder in folders_in(data_dir) if is_root(folder)]
    if len(roots) > 1:
        names = ", ".join(root.name for root in roots)
        raise DataError(f"{data_dir}: holds several data sets ({names}); give one as data_dir")
    if not roots:
        raise DataError(f"{data_dir}: has another layout; {layout}; correct data_dir")
    return roots[0]


def names_in(folder: Path, layout: str) -> list[str]:
    """Return the names of what is in `folder`, sorted, hidden ones left out.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"{folder}: does not exist; {layout}; put it there") from None
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read ({error.strerror}); make it a folder that can be read"
        ) from None
    return [name for name in names if not name.startswith(".")]


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted by name.

    Raises:
        DataError: it cannot be read.
    """
    paths = (folder / name for name in names_in(folder, "a data set is a folder"))
    return [path for path in paths if is_folder(path)]


def pictures_in(folder: Path, layout: str, name_of: Callable[[str], str] = str) -> dict[str, Path]:
    """Return the pictures in `folder` by `name_of` their name without suffix.

    Raises:
        DataError: there is no such folder, it cannot be read, or two pictures have one name.
    """
    pictures: dict[str, Path] = {}
    for file_name in names_in(folder, layout):
        path = folder / file_name
        if path.suffix.lower() not in SUFFIXES:
            continue
        name = name_of(path.stem)
        other = pictures.setdefault(name, path)
        if other is not path:
            raise DataError(
                f"{folder}: {other.name!r} and {file_name!r} both stand for {name!r}; remove or "
                "rename one"
            )
    return pictures
