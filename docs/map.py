"""Prints the map of the code: every module with the first sentence of its docstring.

`python docs/map.py --write` puts it into docs/architecture.md; a test holds the two together.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("patchtrain", "sweeps", "analysis", "benchmarks")
_WITHOUT_INIT = {"benchmarks": "Scripts that print ratios measured side by side; not tests"}
PAGE = ROOT / "docs" / "architecture.md"
_BLOCK = re.compile(r"(?<=<!-- map -->\n```\n).*?(?=```\n<!-- end of map -->)", re.DOTALL)
_COLUMN = 34


def drawn() -> str:
    """Return the map as text."""
    return "".join(line for package in PACKAGES for line in _lines(ROOT / package, 0))


def recorded() -> str:
    """Return the map that stands in docs/architecture.md."""
    return _BLOCK.findall(PAGE.read_text())[0]


def _lines(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", folder / "__init__.py", depth)
    children = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for path in children:
        if path.is_dir() and (path / "__init__.py").exists():
            yield from _lines(path, depth + 1)
        elif path.suffix == ".py" and not path.name.startswith("_"):
            yield _line(path.name, path, depth + 1)


def _line(name: str, path: Path, depth: int) -> str:
    return f"{'  ' * depth + name:<{_COLUMN}} {_summary(path)}".rstrip() + "\n"


def _summary(path: Path) -> str:
    """Return the first sentence of the docstring of the module `path`."""
    if not path.exists():
        return _WITHOUT_INIT.get(path.parent.name, "")
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", text)[0].rstrip(".")


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(_BLOCK.sub(lambda _: drawn(), PAGE.read_text()))
    else:
        print(drawn(), end="")
