"""`patchtrain estimate`: the peak of a trial without running it, and what would lower it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation.advice import Knob, check_maximised, knobs, largest
from patchtrain.estimation.peak import Estimate
from patchtrain.estimation.predict import estimate as estimate_of
from patchtrain.estimation.predict import fixed_bytes
from patchtrain.units import format_bytes, parse_budget


def estimate(
    config_path: Path,
    overrides: Sequence[str],
    *,
    budget: str | None,
    maximised: str | None,
    quick: bool,
    as_json: bool,
) -> int:
    """Print the predicted peak of the trial in `config_path`; no data set is read.

    Args:
        budget: the budget to compare with; None: the configuration's own.
        maximised: find the largest value of this setting that fits the budget.
        quick: do not list the settings that lower the peak, which takes further estimates.

    Raises:
        ConfigError: bad input.
    """
    config = _loaded(config_path, overrides, budget, maximised)
    found = estimate_of(config)
    least = fixed_bytes(config)
    if not as_json:
        print(_described(found, least, config.budget), flush=True)
    value = None if maximised is None else _largest(config, maximised)
    lower = [] if quick else knobs(config, found)
    if as_json:
        print(json.dumps(_as_json(found, least, config.budget, lower, maximised, value), indent=2))
        return 0
    if maximised is not None:
        wanted = f"{maximised} that fits {format_bytes(config.budget)}"
        print(f"largest {wanted}: {'none fits' if value is None else value}")
    if not quick:
        print(_lower(found, lower))
    return 0


_DEVICES = {
    "cpu": "cpu: a budget covers tensors only; to estimate for a GPU, use --set device=cuda",
    "cuda": "cuda: a budget also covers CUDA's context and the allocator's cache",
}


def _loaded(
    path: Path, overrides: Sequence[str], budget: str | None, maximised: str | None
) -> TrialConfig:
    """Return the configuration to estimate, with `budget` as its own."""
    config = TrialConfig.load(path, overrides)
    if budget is not None:
        config = replace(config, budget=parse_budget(budget, "--budget"))
    if maximised is not None:
        check_maximised(config, maximised)
        if config.budget is None:
            raise ConfigError(f"--max {maximised}: needs a budget; give --budget too, e.g. 8GB")
    return config


def _largest(config: TrialConfig, name: str) -> Any | None:
    assert config.budget is not None
    return largest(config, name, config.budget)


def _described(found: Estimate, least: int, budget_bytes: int | None) -> str:
    lines = [
        f"predicted peak      {_size(found.predicted_peak_bytes)} in {found.phase}",
        *(
            f"  {name:<18}{format_bytes(num_bytes)}"
            for name, num_bytes in found.attribution.items()
            if num_bytes
        ),
        f"predicted reserved  {_size(found.predicted_reserved_bytes)} by torch's CUDA allocator",
        f"at least            {_size(least)} for parameters, gradients and optimizer state",
        f"patch_microbatch    {found.config.patch_microbatch}",
        f"device              {_DEVICES[found.device]}",
    ]
    if budget_bytes is not None:
        needed = f"needs {_size(found.needed_bytes)}"
        verdict = "fits" if found.fits(budget_bytes) else "does not fit"
        over = found.needed_bytes - budget_bytes
        by = f"{format_bytes(abs(over))} {'over' if over > 0 else 'left'}"
        lines.append(f"budget {format_bytes(budget_bytes)}: {verdict} ({needed}, {by})")
    return "\n".join(lines)


def _lower(found: Estimate, lower: Sequence[Knob]) -> str:
    if not lower:
        return "no setting, moved one step, lowers the peak"
    lines = ["settings that lower it most, each moved one step:"]
    for knob in lower:
        share = 1 - knob.needed_bytes / found.needed_bytes
        lines.append(
            f"  {f'{knob.name}={knob.value}':<28}{format_bytes(knob.needed_bytes):>9}  -{share:.0%}"
        )
    return "\n".join(lines)


def _as_json(
    found: Estimate,
    least: int,
    budget_bytes: int | None,
    lower: Sequence[Knob],
    maximised: str | None,
    value: Any | None,
) -> dict[str, Any]:
    return {
        **found.to_json(),
        "fixed_bytes": least,
        "budget_bytes": budget_bytes,
        "fits": None if budget_bytes is None else found.fits(budget_bytes),
        "knobs": [
            {"setting": knob.name, "value": knob.value, "needed_bytes": knob.needed_bytes}
            for knob in lower
        ],
        "largest": None if maximised is None else {"setting": maximised, "value": value},
    }


def _size(num_bytes: int) -> str:
    return f"{format_bytes(num_bytes)} ({num_bytes} bytes)"
