"""Aggregators of each kind pass the suite."""

from __future__ import annotations

import pytest

from patchtrain.testing import AggregatorContract

pytestmark = pytest.mark.slow


class TestSmallCnn(AggregatorContract):
    aggregator = "small_cnn"


class TestAttention(AggregatorContract):
    aggregator = "attention"


class TestSame(AggregatorContract):
    aggregator = "same"


class TestTimm(AggregatorContract):
    aggregator = "test_efficientnet"
