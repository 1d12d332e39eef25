"""What a trial leaves behind: `TrialRecord`, `EpochRecord` and their Parquet files.

The only thing that sweeps and analysis share. Knows nothing of models, torch or Ray.
Unknown is None, never 0 or -1; memory is in bytes, time in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from patchtrain.config import TrialConfig
from patchtrain.files import atomic_path
from patchtrain.settings import column_type

METRIC_PREFIX = "metric_"


class TrialStatus(str, Enum):
    """How a trial ended."""

    COMPLETED = "completed"
    OUT_OF_MEMORY = "out_of_memory"
    PREDICTED_INFEASIBLE = "predicted_infeasible"
    STOPPED_EARLY = "stopped_early"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial: what was run, how it ended, which metrics it reached and what it held.

    One row of `trials.parquet` and the content of `record.json`; `to_row` gives the columns,
    with each entry of `settings` under its name and each of `metrics` as `metric_<name>`.
    """

    trial_id: str
    sweep: str | None
    group: str | None = None
    """The trial that this one replicates with another seed; otherwise the trial itself. None
    outside a sweep."""
    status: TrialStatus
    task: str
    dataset: str
    data_is_sample: bool
    method: str
    image_size: int
    patch_size: int
    sampling_rate: float
    num_sampled: int
    inner_iterations: int
    fusion: str
    backbone: str
    encoder: str | None = None
    """Encoder of a segmentation network that is built around one."""
    aggregator: str | None
    layout: str | None = None
    """Layout of the latent block in detection."""
    norm: str
    precision: str
    batch_size: int
    accumulation_steps: int
    learning_rate: float
    patch_microbatch: str
    """As configured, `auto` included."""
    patch_microbatch_used: int | None = None
    """Patches, the global one included, that went through the backbone at once in training."""
    budget_bytes: int | None
    predicted_peak_bytes: int | None = None
    """Estimated before the start: the tensors' peak, on CUDA with the libraries' workspace."""
    predicted_reserved_bytes: int | None = None
    """Estimated before the start: what torch's CUDA allocator will hold."""
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_process_bytes: int | None = None
    peak_phase: str | None = None
    """The part of the step in which the peak was reached."""
    peak_parameters_bytes: int | None = None
    """This and the five below add up to `peak_allocated_bytes` if the meter ran."""
    peak_gradients_bytes: int | None = None
    peak_optimizer_bytes: int | None = None
    peak_activations_bytes: int | None = None
    peak_latent_bytes: int | None = None
    peak_input_bytes: int | None = None
    cap_level: str | None = None
    """What held the budget: `none`, `meter` (CPU), or on CUDA `allocator` or `allocator+watchdog`,
    with `+unknown_context`, `+mig` and `+mps` where they apply (see `memory.cuda`)."""
    metric_name: str
    metric: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    epochs: int
    epochs_done: int = 0
    train_time_s: float | None = None
    images_per_s: float | None = None
    num_parameters: int | None = None
    num_train_images: int | None = None
    num_val_images: int | None = None
    num_skipped_images: int | None = None
    data_hash: str | None = None
    """Of names, splits, sizes and labels of the images: trials with other hashes were measured on
    other data."""
    seed: int
    device: str
    error: str | None = None
    failed_by: str | None = None
    """Of failed trials: `configuration`, which would fail again, or `environment`; see `faults`."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    versions: str | None = None
    """JSON object: package name -> version."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Every other setting of the trial that has a value: one column each, under its name in
    `TrialConfig`. Runs by earlier versions lack some."""

    def to_row(self) -> dict[str, Any]:
        """Return the trial as one flat row of `trials.parquet`."""
        row = asdict(self)
        row["status"] = self.status.value
        row |= row.pop("settings")
        row |= {METRIC_PREFIX + name: value for name, value in row.pop("metrics").items()}
        return row

    @property
    def is_replicate(self) -> bool:
        """Whether it repeats another trial with another seed."""
        return self.group not in (None, self.trial_id)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TrialRecord:
        """Return the record that `to_row` (or `record.json`) holds."""
        known = {f.name for f in fields(cls)} - {"metrics", "settings"}
        values = {key: value for key, value in row.items() if key in known}
        values["status"] = TrialStatus(values["status"])
        for name in ("started_at", "finished_at"):
            if isinstance(values.get(name), str):
                values[name] = datetime.fromisoformat(values[name])
        metrics = {
            key.removeprefix(METRIC_PREFIX): value
            for key, value in row.items()
            if key.startswith(METRIC_PREFIX) and key not in known
        }
        others = (name for name in setting_names() if name not in known)
        settings = {name: row[name] for name in others if row.get(name) is not None}
        return cls(**values, metrics=metrics, settings=settings)

    if not TYPE_CHECKING:  # for notebooks; type checkers should go on refusing misspelt names

        def __getattr__(self, name: str) -> Any:
            """Return a setting that is not a field; None where it is unknown."""
            if name in setting_names():
                return self.__dict__.get("settings", {}).get(name)
            raise AttributeError(f"a TrialRecord has no {name!r}")

    def setting(self, name: str) -> Any:
        """Return the recorded setting `name`; None if it is unknown."""
        return getattr(self, name)


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of one trial: a row of `epochs.parquet`."""

    trial_id: str
    epoch: int
    """1 for the first."""
    train_loss: float
    learning_rate: float
    """At the end of the epoch."""
    metric_name: str
    metric: float | None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_process_bytes: int | None = None
    train_time_s: float
    validation_time_s: float
    images_per_s: float
    global_gradient_share: float | None = None
    """Share of the backbone's gradient, 0 to 1, that came from the global patch in the first inner
    iteration of the epoch; None for methods without one."""
    global_size: float | None = None
    """Size (root mean square) of the global features then, as a multiple of the latent block's."""

    def to_row(self) -> dict[str, Any]:
        """Return the epoch as one flat row of `epochs.parquet`."""
        row = asdict(self)
        row |= {METRIC_PREFIX + name: value for name, value in row.pop("metrics").items()}
        return row


_ARROW_TYPES = {
    "str": pa.string(),
    "TrialStatus": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "datetime": pa.timestamp("us", tz="UTC"),
}


@cache
def setting_names() -> tuple[str, ...]:
    """Return the settings of `TrialConfig` that are recorded under their own names: all but the
    budget, which is in `budget_bytes`, and the device, whose column names the hardware.
    """
    names = (f.name for f in fields(TrialConfig))
    return tuple(name for name in names if name not in ("budget", "device"))


def schema_of(record_type: type, metric_names: Iterable[str] = ()) -> pa.Schema:
    """Return the Parquet schema of `TrialRecord` or `EpochRecord`, metrics as `metric_<name>`."""
    columns = [
        (f.name, _ARROW_TYPES[str(f.type).removesuffix(" | None")])
        for f in fields(record_type)
        if f.name not in ("metrics", "settings")
    ]
    if record_type is TrialRecord:
        taken = {name for name, _ in columns}
        columns += [
            (name, _ARROW_TYPES[column_type(TrialConfig, name)])
            for name in setting_names()
            if name not in taken
        ]
    columns += [(METRIC_PREFIX + name, pa.float64()) for name in sorted(metric_names)]
    return pa.schema(columns)


def table_of(record_type: type, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return `rows` as a table in the schema of `record_type`, their metrics included."""
    known = {f.name for f in fields(record_type)}
    metric_names = {
        key.removeprefix(METRIC_PREFIX)
        for row in rows
        for key in row
        if key.startswith(METRIC_PREFIX) and key not in known
    }
    return pa.Table.from_pylist(list(rows), schema=schema_of(record_type, metric_names))


def write_rows(
    path: Path,
    record_type: type,
    rows: Sequence[Mapping[str, Any]],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write `rows` as the Parquet file `path`, whole or not at all; metadata holds `notes`."""
    table = table_of(record_type, rows)
    if notes:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **notes})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the Parquet file `path`; an empty list if there is no such file."""
    if not path.exists():
        return []
    # read in one go: parts of a file that replaces it meanwhile would be mixed in
    return pq.read_table(pa.BufferReader(path.read_bytes())).to_pylist()


def write_json(path: Path, record: TrialRecord) -> None:
    """Write `record` as `record.json`, whole or not at all."""
    row = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in record.to_row().items()}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(row, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> TrialRecord:
    """Return the record in the file `path`."""
    return TrialRecord.from_row(json.loads(path.read_text()))
