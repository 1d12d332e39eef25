"""What is kept of a GPU model comes back, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from patchtrain.memory.facts import ASSUMED, GpuFacts, recall, remember

A10G = replace(
    ASSUMED,
    name="NVIDIA A10G",
    driver="550.54",
    torch="2.14.1+cu130",
    total_bytes=23_609_475_072,
    context_bytes=312_000_000,
)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path))
    return tmp_path


def kept_file(folder):
    (path,) = (folder / "gpus").iterdir()
    return path


def test_facts_come_back_for_the_same_model_and_software():
    remember(A10G)
    assert recall(A10G.name, A10G.driver, A10G.torch) == A10G
    assert A10G.is_measured and not ASSUMED.is_measured


@pytest.mark.parametrize("changes", [{"name": "L4"}, {"driver": "560.1"}, {"torch": "2.15.0"}])
def test_other_models_and_other_software_know_nothing(changes):
    remember(A10G)
    other = replace(A10G, **changes)
    assert recall(other.name, other.driver, other.torch) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"context_bytes": -1},
        {"context_bytes": 1.5},
        {"total_bytes": "24GB"},
        {"expandable_segments": 1},
        {"name": "another"},
        {"extra": 1},
    ],
    ids=str,
)
def test_damaged_files_are_ignored(cache, damage):
    remember(A10G)
    path = kept_file(cache)
    path.write_text(json.dumps({**A10G.to_json(), **damage}))
    assert recall(A10G.name, A10G.driver, A10G.torch) is None
    path.write_text("{")
    assert recall(A10G.name, A10G.driver, A10G.torch) is None


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    (cache / "gpus").write_text("a file in the way")
    remember(A10G)
    assert recall(A10G.name, A10G.driver, A10G.torch) is None


@pytest.mark.parametrize("values", [None, [], "text", {}, {"name": "A10G"}])
def test_anything_else_is_no_facts(values):
    assert GpuFacts.from_json(values) is None
