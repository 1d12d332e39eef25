"""Parts from outside our packages pass the contract suites."""

from __future__ import annotations

from patchtrain.testing import (
    AggregatorContract,
    ClassificationBackboneContract,
    DataSetContract,
    DetectionBackboneContract,
    HeadContract,
    MethodContract,
    SegmentationBackboneContract,
)
from sweeps.testing import SamplerContract


class TestNeighbours(MethodContract):
    method = "extensions.parts.methods:Neighbours"
    tasks = ("classification", "segmentation")  # detection: test_commands


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


class TestOneLayer(HeadContract):
    head = "extensions.parts.heads:OneLayer"


class TestColours(DataSetContract):
    dataset = "extensions.parts.datasets:Colours"


class TestMutate(SamplerContract):
    sampler = "extensions.parts.samplers:Mutate"
