"""Contract suites: the tests that any method, backbone, head, aggregator or data set must pass.

Ours pass them, and yours should: derive a test class from a suite in a test file of your own and
run pytest on it.

    from patchtrain.testing import MethodContract

    class TestMine(MethodContract):
        method = "my_parts:Mine"

Needs pytest, which the rest of patchtrain does not. The suite of a sweep's samplers is in
`sweeps.testing`.
"""

import pytest

pytest.register_assert_rewrite(
    "patchtrain.testing.aggregators",
    "patchtrain.testing.backbones",
    "patchtrain.testing.datasets",
    "patchtrain.testing.heads",
    "patchtrain.testing.methods",
    "patchtrain.testing.rules",
)

from patchtrain.testing.aggregators import AggregatorContract  # noqa: E402
from patchtrain.testing.backbones import (  # noqa: E402
    ClassificationBackboneContract,
    DetectionBackboneContract,
    SegmentationBackboneContract,
)
from patchtrain.testing.datasets import DataSetContract  # noqa: E402
from patchtrain.testing.heads import HeadContract  # noqa: E402
from patchtrain.testing.methods import MethodContract  # noqa: E402

__all__ = [
    "AggregatorContract",
    "ClassificationBackboneContract",
    "DataSetContract",
    "DetectionBackboneContract",
    "HeadContract",
    "MethodContract",
    "SegmentationBackboneContract",
]
