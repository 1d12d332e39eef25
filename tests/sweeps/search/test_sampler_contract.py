"""Every built-in sampler passes the suite."""

from __future__ import annotations

from sweeps.search.samplers import SAMPLERS
from sweeps.testing import SamplerContract

_SLOW = {"gp": {"num_trials": 6}}

for _name in SAMPLERS:
    _values = {"sampler": _name, **_SLOW.get(_name, {})}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (SamplerContract,), _values)
