"""docs/architecture.md: its map is the tree."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def map_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("code_map", ROOT / "docs" / "map.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_map_in_the_docs_is_the_tree():
    module = map_module()
    assert module.recorded() == module.drawn(), "run `python docs/map.py --write`"


def test_every_module_says_in_one_sentence_what_it_is():
    for line in map_module().drawn().splitlines():
        name, _, sentence = line.strip().partition(" ")
        assert sentence.strip(), f"{name} has no docstring"


def test_a_module_that_is_missing_from_the_docs_is_noticed(tmp_path, monkeypatch):
    module = map_module()
    (tmp_path / "patchtrain").mkdir()
    (tmp_path / "patchtrain" / "__init__.py").write_text('"""A package."""\n')
    (tmp_path / "patchtrain" / "new.py").write_text('"""Something new. More of it."""\n')
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PACKAGES", ("patchtrain",))
    assert "  new.py" in module.drawn() and "Something new\n" in module.drawn()
    assert module.drawn() != module.recorded()
