"""Reads small CSV files that people edit; does not know what the columns mean."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from patchtrain.errors import DataError


class Row(NamedTuple):
    """A line of a table: its number, and its values by column without surrounding blanks."""

    line: int
    values: dict[str, str]


def read_table(
    path: Path, columns: Sequence[str], *, also: Mapping[str, str] | None = None
) -> list[Row]:
    """Return the rows of the CSV file `path`, which must have `columns` and may have more.

    Args:
        also: other name of a column -> its name in `columns`, if the file does not have that.

    Raises:
        DataError: unreadable, not UTF-8 CSV, a column is missing, or there are no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            found = [name.strip() for name in reader.fieldnames or ()]
            for other, name in (also or {}).items():
                if name not in found:
                    found = [name if each == other else each for each in found]
            _check_columns(path, columns, found)
            reader.fieldnames = found
            rows = [
                Row(reader.line_num, {name: line[name].strip() for name in columns})
                for line in reader
                if any(cell and cell.strip() for cell in line.values() if isinstance(cell, str))
            ]
    except FileNotFoundError:
        raise DataError(
            f"{path}: cannot be read (No such file or directory); check the folder, and that the "
            "file has this name"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8"
        ) from None
    except csv.Error as error:
        raise DataError(f"{path}: is not CSV ({error}); save it as comma-separated text") from None
    if not rows:
        raise DataError(f"{path}: has a header but no rows; write them below it")
    return rows


def whole_number(text: str) -> int | None:
    """Return the whole number from 0 on that is written as `3`, or as `3.0`, as pandas writes it in
    a column with gaps; None for anything else.
    """
    digits, point, rest = text.partition(".")
    is_whole = digits.isascii() and digits.isdecimal() and not rest.strip("0")
    return int(digits) if is_whole and (rest or not point) else None


def _check_columns(path: Path, columns: Sequence[str], found: Sequence[str]) -> None:
    if not found:
        raise DataError(f"{path}: is empty; write a header with {', '.join(columns)}, then rows")
    for name in columns:
        if found.count(name) > 1:
            raise DataError(f"{path}: has the column {name} twice; remove one of them")
        if name not in found:
            names = ", ".join(map(repr, found))
            names = names if len(names) <= 100 else names[:100] + "..."
            raise DataError(
                f"{path}: has no column {name} (found {names}); "
                f"write a comma-separated header with {', '.join(columns)}"
            )
