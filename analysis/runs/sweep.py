"""`sweep.json`: the description of a run as a whole."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from analysis.errors import one_line
from analysis.runs.run import SweepInfo
from analysis.runs.storage import Folder

SWEEP = "sweep.json"


def load_sweep(folder: Folder, notices: list[str]) -> SweepInfo:
    if not folder.exists(SWEEP):
        return SweepInfo()
    try:
        content = json.loads(folder.read(SWEEP).decode())
        if not isinstance(content, dict):
            raise ValueError("holds no JSON object")
        return _sweep_info(content)
    except (OSError, ValueError) as error:
        notices.append(f"{SWEEP} is left out: {one_line(error)}.")
        return SweepInfo()


def _sweep_info(content: Mapping[str, Any]) -> SweepInfo:
    space = content.get("space")
    return SweepInfo(
        name=_text(content.get("sweep")),
        command=_command(content.get("command")),
        budgets_bytes=_budgets(content.get("budgets_bytes")),
        num_trials=content["num_trials"] if _is_count(content.get("num_trials")) else None,
        varied=tuple(map(str, space)) if isinstance(space, dict) else (),
        started_at=_text(content.get("started_at")),
        versions=parse_versions(content.get("versions")),
    )


def parse_versions(value: object) -> dict[str, str]:
    """Return package name -> version of a mapping or its JSON text; empty where it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _budgets(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(_is_count(budget) for budget in value):
        raise ValueError(
            f"budgets_bytes={one_line(value)} must be a list of positive whole numbers of bytes, "
            "below 2^63"
        )
    return tuple(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _command(value: object) -> str | None:
    return shlex.join(map(str, value)) if isinstance(value, list) else _text(value)
