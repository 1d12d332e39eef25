from __future__ import annotations

from sweeps.search.settings import with_newer_settings


def test_an_earlier_sweep_is_read_as_it_ran():
    """Its global patch ran with gradient; other newer settings had today's defaults."""
    wanted = {"dataset": "drive", "global_pass": "filled", "fusion_scale": "none", "seed": 3}
    held = {"dataset": "drive", "seed": 3}
    assert with_newer_settings(held, wanted) == {**wanted, "global_pass": "joint"}
    assert with_newer_settings({**held, "global_pass": "filled"}, wanted) == wanted
