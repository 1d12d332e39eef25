"""Every built-in sampler passes the suite."""

from __future__ import annotations

import pytest

from patchtrain.errors import ConfigError
from sweeps.search.samplers import SAMPLERS
from sweeps.testing import SamplerContract

_SLOW = {"gp": {"num_trials": 5}}

for _name in SAMPLERS:
    _values = {"sampler": _name, **_SLOW.get(_name, {})}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (SamplerContract,), _values)


@pytest.mark.parametrize(
    ("sampler", "check", "arguments"),
    [
        ("Unseeded", "test_equal_seeds_propose_equal_trials_and_other_seeds_others", ()),
        ("ByTheClock", "test_most_trials_after_the_start_are_its_own", ()),
        ("OneObjective", "test_it_is_made_and_proposes_for_two_objectives", ()),
        ("Vectors", "test_it_is_made_and_proposes_for_two_objectives", ()),
    ],
)
def test_a_broken_sampler_is_found(sampler, check, arguments):
    broken = type("Broken", (SamplerContract,), {"sampler": f"broken_parts:{sampler}"})()
    with pytest.raises((AssertionError, ConfigError)):
        getattr(broken, check)(*arguments)
