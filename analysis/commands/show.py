"""`show`: everything recorded about one trial, and the command that trains it again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.commands.inputs import RUN_DIR_HELP, local_path
from analysis.errors import InputError
from analysis.numbers.columns import is_on_front
from analysis.numbers.rerun import config_name, train_command
from analysis.numbers.seeds import over_seeds, seeds_text
from analysis.numbers.varied import further_settings, headings
from analysis.runs.load import load_run
from analysis.runs.run import RUN, Run, rows_of
from analysis.sections.memory import PARTS
from analysis.settings import SETTINGS, used_setting
from analysis.text import UNKNOWN, exact_size, format_metric, status_text
from patchtrain.files import atomic_path
from patchtrain.record import METRIC_PREFIX, TrialRecord, schema_of
from patchtrain.units import format_bytes

BLOCKS = "\N{LOWER ONE EIGHTH BLOCK}▂▃▄▅▆▇█"


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("show", help="print everything about one trial")
    parser.add_argument("run_dir", metavar="RUN_DIR", help=RUN_DIR_HELP)
    parser.add_argument("trial", metavar="TRIAL", help="a trial_id, or how it begins")
    parser.add_argument("--json", action="store_true", help="print the row and the epochs as JSON")
    parser.add_argument(
        "--config",
        type=local_path,
        metavar="FILE",
        help="write the configuration that reruns the trial here",
    )
    parser.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Print the trial."""
    run = load_run(options.run_dir)
    row = _trial(run, options.trial)
    if options.config is not None:
        _write_config(run, row, options.config)
    epochs = rows_of(
        run.epochs[(run.epochs["trial_id"] == row["trial_id"]).to_numpy(dtype=bool)].sort_values(
            "epoch"
        )
    )
    if options.json:
        content = {**_plain(row), "epochs_rows": [_plain(epoch) for epoch in epochs]}
        print(json.dumps(content, indent=2))
    else:
        print("\n".join(_lines(run, row, epochs)))
    return 0


def _trial(run: Run, wanted: str) -> dict[str, Any]:
    ids = run.trials["trial_id"].tolist()
    found = [wanted] if wanted in ids else [each for each in ids if each.startswith(wanted)]
    if len(found) != 1:
        some = ", ".join((found or ids)[:8]) or "none"
        more = ", ..." if len(found or ids) > 8 else ""
        rule = "begins several trial_ids" if found else "is not a trial of the run"
        raise InputError(f"TRIAL={wanted!r}: {rule}; one of: {some}{more}")
    return rows_of(run.trials[(run.trials["trial_id"] == found[0]).to_numpy(dtype=bool)])[0]


def _write_config(run: Run, row: Mapping[str, Any], path: Path) -> None:
    folder, name = run.folders[row[RUN]], config_name(row)
    is_inside = folder.place is not None and path.resolve().is_relative_to(folder.place.resolve())
    if is_inside and path.exists():
        raise InputError(f"--config={path}: is a file of the run and must stay; give another")
    try:
        content = folder.read(name)
    except OSError:
        raise InputError(f"{folder.path_of(name)}: cannot be read") from None
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"--config={path}: cannot be written ({error.strerror or error})"
        ) from None


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name != RUN
    }


def _lines(run: Run, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = {
        "result": _result(run, row, epochs),
        "memory": _memory(row),
        "settings": _settings(run, row),
        "time": _time(row),
        "made by": _made_by(row),
    }
    lines = [f"trial {row['trial_id']} of {row[RUN]}"]
    for heading, content in parts.items():
        lines += ["", heading]
        lines += [
            f"  {name:<18} {_one_line(text)}" for name, text in content.items() if text != UNKNOWN
        ]
    command = train_command(run, row, None)
    return [*lines, "", "train it again", f"  {command}"] if command else lines


def _result(
    run: Run, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    is_front = row["trial_id"] in run.trials["trial_id"][is_on_front(run)].tolist()
    name = row["metric_name"] or "metric"
    return {
        "status": status_text(row["status"]) + (", on the front" if is_front else ""),
        name: format_metric(row["metric"]),
        **{other: text for other, text in _metrics(row).items() if other != row["metric_name"]},
        "over seeds": seeds_text(over_seeds(run, row)),
        "curve": _curve([epoch["metric"] for epoch in epochs]),
        "epochs": f"{_text(row['epochs_done'])} of {_text(row['epochs'])}",
        "error": row["error"] or UNKNOWN,
    }


def _metrics(row: Mapping[str, Any]) -> dict[str, str]:
    known = set(schema_of(TrialRecord).names)
    return {
        name.removeprefix(METRIC_PREFIX): format_metric(value)
        for name, value in row.items()
        if name.startswith(METRIC_PREFIX) and name not in known and value is not None
    }


def _memory(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "budget": UNKNOWN if row["budget_bytes"] is None else exact_size(row["budget_bytes"]),
        "allocated": _size(row["peak_allocated_bytes"]),
        "predicted": _predicted(row),
        "reserved": _size(row["peak_reserved_bytes"]),
        "process": _size(row["peak_process_bytes"]),
        "reached in": _text(row["peak_phase"]),
        **{part: _part(row, column) for part, column in PARTS.items()},
        "enforced by": _text(row["cap_level"]),
    }


def _settings(run: Run, row: Mapping[str, Any]) -> dict[str, str]:
    used = {
        headings(run)[name]: used_setting(row, name) for name in (*SETTINGS, *further_settings(run))
    }
    told = {heading: _text(value) for heading, value in used.items() if value is not None}
    return told | {"Seed": _text(row["seed"]), "Device": _text(row["device"])}


def _time(row: Mapping[str, Any]) -> dict[str, str]:
    seconds, speed = row["train_time_s"], row["images_per_s"]
    return {
        "started": _text(row["started_at"]),
        "finished": _text(row["finished_at"]),
        "training s": UNKNOWN if seconds is None else f"{seconds:.1f}",
        "images/s": UNKNOWN if speed is None else f"{speed:.3g}",
    }


def _made_by(row: Mapping[str, Any]) -> dict[str, str]:
    trained, measured = _text(row["num_train_images"]), _text(row["num_val_images"])
    return {
        "versions": _text(row["versions"]),
        "parameters": _text(row["num_parameters"]),
        "images": f"{trained} to train, {measured} to measure",
    }


def _text(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _size(num_bytes: int | None) -> str:
    return UNKNOWN if num_bytes is None else f"{format_bytes(num_bytes)} ({num_bytes} bytes)"


def _part(row: Mapping[str, Any], column: str) -> str:
    num_bytes, peak = row[column], row["peak_allocated_bytes"]
    if num_bytes is None:
        return UNKNOWN
    share = f", {num_bytes / peak:.0%}" if peak else ""
    return f"{format_bytes(num_bytes)}{share}"


def _predicted(row: Mapping[str, Any]) -> str:
    predicted, peak = row["predicted_peak_bytes"], row["peak_allocated_bytes"]
    if predicted is None or not peak or row["status"] != "completed":
        return _size(predicted)
    return f"{_size(predicted)}, {(predicted - peak) / peak:+.2%} of the measured peak"


def _curve(metrics: Sequence[float | None]) -> str:
    """Return the metric over the epochs as a line of blocks, with its lowest and highest value."""
    known = [value for value in metrics if value is not None]
    if not known:
        return UNKNOWN
    low, high = min(known), max(known)
    span = high - low or 1.0
    blocks = (
        " " if v is None else BLOCKS[round((v - low) / span * (len(BLOCKS) - 1))] for v in metrics
    )
    return f"{''.join(blocks)}  {format_metric(low)} to {format_metric(high)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
