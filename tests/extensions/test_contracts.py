"""Parts from outside our packages pass the contract suites."""

from __future__ import annotations

from patchtrain.testing import (
    AggregatorContract,
    ClassificationBackboneContract,
    DetectionBackboneContract,
    MethodContract,
    SegmentationBackboneContract,
)


class TestNeighbours(MethodContract):
    method = "extensions.parts.methods:Neighbours"


class TestMirrored(MethodContract):
    method = "extensions.parts.methods:Mirrored"


class TestVectors(ClassificationBackboneContract):
    backbone = "extensions.parts.backbones:Vectors"


class TestMaps(SegmentationBackboneContract):
    backbone = "extensions.parts.backbones:Maps"


class TestPyramid(DetectionBackboneContract):
    backbone = "extensions.parts.backbones:Pyramid"


class TestStrongest(AggregatorContract):
    aggregator = "extensions.parts.aggregators:Strongest"
