"""What is known of settings by name."""

from __future__ import annotations

from typing import Any

from analysis.settings import describe


def test_settings_that_a_method_ignores_are_not_described(write_run: Any, trial: Any) -> None:
    assert describe(trial("a").to_row()) == (
        "local_global, resnet18, image 512 px, patch 128 px, sampling 0.2 (k 3), "
        "4 inner iterations, fusion add"
    )
    assert "fusion" not in describe(trial("a", method="patchgd").to_row())
    downsampled = describe(trial("a", method="downsampled").to_row())
    assert downsampled == "downsampled, resnet18, image 512 px, patch 128 px"
    assert describe(trial("a", method="full").to_row()) == "full, resnet18, image 512 px"
