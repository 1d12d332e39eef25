"""Runs that several tests of numbers read."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.runs.load import load_run


@pytest.fixture
def repeated(write_run: Any, trial: Any) -> Any:
    """Configuration a is better once, b surely; c was trained once."""
    several = {
        "a": (0.9, 0.3, 0.6),
        "b": (0.62, 0.61, 0.6),
    }
    trials = [
        trial(
            name if seed == 0 else f"{name}-s{seed}",
            metric=metric,
            group=name,
            seed=seed,
            peak_allocated_bytes=1000 + 10 * seed + (500 if name == "b" else 0),
        )
        for name, metrics in several.items()
        for seed, metric in enumerate(metrics)
    ]
    return load_run(write_run([*trials, trial("c", metric=0.95, group="c")]))
