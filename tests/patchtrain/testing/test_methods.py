"""Every method of the catalog passes the suite."""

from __future__ import annotations

from patchtrain import catalog
from patchtrain.testing import MethodContract

for _name in catalog.METHODS:
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (MethodContract,), {"method": _name})
