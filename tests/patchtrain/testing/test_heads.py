"""Our heads of detectors pass their contract suite."""

from __future__ import annotations

import pytest

from patchtrain.catalog import HEADS
from patchtrain.tasks.detection.fcos import Fcos
from patchtrain.testing import HeadContract


class TestFcos(HeadContract):
    head = "fcos"


def test_every_head_of_the_catalog_has_its_suite_here():
    assert set(HEADS) == {TestFcos.head}


class Nearsighted(Fcos):
    halo_cells = 1


def test_a_head_that_looks_farther_than_it_says_is_found_out():
    class Suite(HeadContract):
        head = f"{__name__}:Nearsighted"

        def _head_and_maps(self):
            _, maps = TestFcos()._head_and_maps()
            return Nearsighted(maps[0].shape[1], 3), maps

    with pytest.raises(AssertionError, match="cells far"):
        Suite().test_outputs_depend_on_nothing_beyond_the_halo()
