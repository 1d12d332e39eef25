"""Backbones of each kind pass the suites."""

from __future__ import annotations

import pytest

from patchtrain.testing import (
    ClassificationBackboneContract,
    DetectionBackboneContract,
    SegmentationBackboneContract,
)

pytestmark = pytest.mark.slow


class TestResNet(ClassificationBackboneContract):
    backbone = "test_resnet"


class TestTransformer(ClassificationBackboneContract):
    backbone = "test_vit"
    settings = {"image_size": 320, "patch_size": 160}


class TestUnet(SegmentationBackboneContract):
    backbone = "unet"


class TestDeepLab(SegmentationBackboneContract):
    backbone = "deeplabv3"


class TestPyramid(DetectionBackboneContract):
    backbone = "test_resnet"
