"""Finds the files of a data set in its folders; opens none of them.

Hidden files (`.DS_Store`, `._a.png`) and files that are not pictures are ignored; suffixes may be
in upper case. `layout` is `DataSet.layout`, for messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from patchtrain.errors import DataError
from patchtrain.images import SUFFIXES


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder; False if that cannot be found out."""
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises if a parent cannot be entered


def check_data_dir(data_dir: Path, layout: str) -> None:
    """Raise DataError unless `data_dir` is a folder."""
    if not is_folder(data_dir):
        raise DataError(
            f"data_dir={data_dir}: is not a folder; expected {layout}; correct data_dir"
        )


def other_layout(data_dir: Path, layout: str) -> DataError:
    """Return the error for a folder that holds something else."""
    return DataError(f"{data_dir}: has another layout; expected {layout}; correct data_dir")


def find_root(data_dir: Path, is_root: Callable[[Path], bool], layout: str) -> Path:
    """Return the folder that has the layout: `data_dir`, or the only such folder in it.

    Raises:
        DataError: no folder has it, or several in `data_dir` do.
    """
    check_data_dir(data_dir, layout)
    if is_root(data_dir):
        return data_dir
    roots = [folder for folder in folders_in(data_dir) if is_root(folder)]
    if len(roots) > 1:
        names = ", ".join(root.name for root in roots)
        raise DataError(f"{data_dir}: holds several data sets ({names}); give one as data_dir")
    if not roots:
        raise other_layout(data_dir, layout)
    return roots[0]


def names_in(folder: Path, layout: str) -> list[str]:
    """Return the names of the files and folders in `folder`, sorted, without hidden ones.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"{folder}: does not exist; expected {layout}; put it there") from None
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
    paths = (folder / name for name in names_in(folder, "a folder"))
    return [path for path in paths if is_folder(path)]


def pictures_in(folder: Path, layout: str, name_of: Callable[[str], str] = str) -> dict[str, Path]:
    """Return name -> picture in `folder`, where `name_of` makes the name from that without suffix.

    Raises:
        DataError: there is no such folder, it cannot be read, or two pictures have the same name.
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
