"""Errors of processes that read images ahead arrive as what they are."""

from __future__ import annotations

import numpy as np
import pytest
from image_data import grey_image, half_mask, trial, write

from patchtrain.batches import batches_in_order, fetched
from patchtrain.datasets import load_dataset
from patchtrain.errors import DataError
from patchtrain.memory.guards import guard_for


class _Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)

    def __reduce__(self):
        raise TypeError("no")


@pytest.fixture
def data(tmp_path):
    for number in range(6):
        write(tmp_path / "d" / "images" / f"{number}.png", grey_image(value=9 * number))
        write(tmp_path / "d" / "masks" / f"{number}.png", half_mask())
    return load_dataset(trial("image_masks", tmp_path / "d"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_that_became_unreadable_is_named_in_one_line(data, num_workers):
    import torch

    data.train[2].path.write_bytes(b"broken")
    config = trial("image_masks", data.data_dir, num_workers=num_workers, batch_size=2)
    with guard_for(torch.device("cpu"), None) as guard, pytest.raises(DataError) as caught:
        list(fetched(batches_in_order(config, data.train), guard))
    assert str(caught.value).startswith(f"{data.train[2].path}: is not an image of a known kind")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyError("k"), _Unpicklable("a", "b")])
def test_any_other_error_keeps_its_kind_if_it_can(data, num_workers, error, monkeypatch):
    import torch

    from patchtrain.datasets.example import Example

    def fail(self, image_size):
        raise error

    monkeypatch.setattr(Example, "inspect", fail)
    config = trial("image_masks", data.data_dir, num_workers=num_workers)
    kind = RuntimeError if isinstance(error, _Unpicklable) else type(error)
    with guard_for(torch.device("cpu"), None) as guard, pytest.raises(kind):
        list(fetched(batches_in_order(config, data.train), guard))


def test_workers_change_nothing(data):
    import torch

    found = []
    for num_workers in (0, 2):
        config = trial("image_masks", data.data_dir, num_workers=num_workers, batch_size=2)
        with guard_for(torch.device("cpu"), None) as guard:
            found.append(list(fetched(batches_in_order(config, data.train), guard)))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.images[0], other.images[0])
