"""The user's own code is edited while a session goes on: nothing of the earlier code is used."""

from __future__ import annotations

import importlib
import sys

import pytest

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation.predict import estimate

BACKBONE = """
from torch import nn

class Flat(nn.Sequential):
    num_features = {channels}

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, {channels}, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
"""

METHOD = """
from patchtrain.catalog import MethodFacts
from patchtrain.methods.downsampled import Downsampled

class Small(Downsampled):
    facts = MethodFacts(input_side="patch_size", reads={reads})
"""


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Write a module into the current folder, and load it again if it is known already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []

    def edit(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        if name in sys.modules:
            importlib.reload(sys.modules[name])
        names.append(name)

    yield edit
    for name in names:
        sys.modules.pop(name, None)


def test_an_estimate_is_of_the_code_as_it_is_now(edited):
    settings = {"backbone": "edited_backbone:Flat", "method": "downsampled", "device": "cpu"}
    edited("edited_backbone", BACKBONE.format(channels=8))
    before = estimate(TrialConfig.from_mapping(settings)).predicted_peak_bytes
    edited("edited_backbone", BACKBONE.format(channels=128))
    after = estimate(TrialConfig.from_mapping(settings)).predicted_peak_bytes
    assert after > 2 * before
    assert estimate(TrialConfig.from_mapping(settings)).source == "cache"


def test_facts_are_those_of_the_code_as_it_is_now(edited):
    edited("edited_method", METHOD.format(reads=("patch_size",)))
    TrialConfig.from_mapping({"method": "edited_method:Small"})
    edited("edited_method", METHOD.format(reads=("patchsize",)))
    with pytest.raises(ConfigError, match="patchsize"):
        TrialConfig.from_mapping({"method": "edited_method:Small"})
