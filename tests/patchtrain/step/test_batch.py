from __future__ import annotations

import numpy as np
import torch

from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import CHANNEL_MEAN, CHANNEL_STD, DeviceFeeder, HostBatch


def test_pixels_are_normalised_per_channel_and_counted_as_input():
    guard = MemoryGuard(torch.device("cpu"), None)
    image = np.zeros((1, 2, 3, 3), np.uint8)
    image[0, 1, 2] = (255, 128, 0)
    with guard:
        pixels = DeviceFeeder(guard, torch.channels_last).pixels(image)
    assert pixels.shape == (1, 3, 2, 3)
    wanted = [
        (v / 255 - m) / s for v, m, s in zip((255, 128, 0), CHANNEL_MEAN, CHANNEL_STD, strict=True)
    ]
    torch.testing.assert_close(pixels[0, :, 1, 2], torch.tensor(wanted))
    by_category = guard.peak().by_category
    assert by_category["input"] > 0
    assert sum(by_category.values()) == by_category["input"]


def test_a_copy_on_the_cpu_does_not_share_the_hosts_memory():
    guard = MemoryGuard(torch.device("cpu"), None)
    host = np.array([1, 2])
    with guard:
        targets = DeviceFeeder(guard, torch.channels_last).targets(host)
    host[0] = 9
    assert targets.tolist() == [1, 2]


def test_resizing_averages_fine_detail_away():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    (small,) = HostBatch([stripes], np.array([0])).resized(8)
    assert small.shape == (8, 8, 3)
    assert abs(small.astype(int) - 100).max() <= 12
