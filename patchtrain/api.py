"""The public Python interface, for notebooks and scripts: `train`, `estimate`, `evaluate`.

The command line runs the same functions, so a trial that was started here can be resumed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchtrain.commands.evaluate import Evaluation, evaluate_folder
from patchtrain.commands.train import train_into
from patchtrain.config import TrialConfig
from patchtrain.estimation.peak import Estimate
from patchtrain.estimation.predict import estimate as estimate_config
from patchtrain.record import TrialRecord
from patchtrain.units import parse_budget

Settings = TrialConfig | Mapping[str, Any] | str | Path
"""A trial: a configuration, a mapping of its YAML keys, or the path of a YAML file."""


def train(
    trial: Settings, out: str | Path, *, resume: bool = False, progress: bool = True
) -> TrialRecord:
    """Train one trial and return its record; writes the files of `patchtrain train` into `out`.

    Running out of memory or a NaN loss does not raise: the record's `status` and `error` say so. An
    interrupt (the notebook's stop button) raises KeyboardInterrupt; every finished epoch is saved,
    and the same call with `resume=True` continues from there.

    Args:
        trial: the trial to train.
        out: a new or empty folder, or with `resume` the folder of the trial.
        resume: continue the trial in `out`; for a finished one, its record is returned.
        progress: show a progress bar and a line for each epoch, also in notebooks.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    return train_into(_config(trial), Path(out), resume=resume, quiet=not progress)


def estimate(trial: Settings, *, budget: str | int | None = None) -> Estimate:
    """Predict the peak memory of a trial; needs no data, no device and not the memory itself.

    The result has `predicted_peak_bytes`, `predicted_reserved_bytes`, `attribution` (bytes by what
    they are for) and `fits(budget_bytes)`.

    Args:
        trial: the trial to predict.
        budget: bytes, or text such as `8GB`; `patch_microbatch: auto` is chosen to fit it. None:
            the trial's own budget.

    Raises:
        ConfigError: a wrong setting, or networks that cannot be built or trained.
    """
    config = _config(trial)
    if budget is not None:
        config = replace(config, budget=parse_budget(budget))
    return estimate_config(config)


def evaluate(
    folder: str | Path,
    data_dir: str | Path | None = None,
    *,
    split: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
) -> Evaluation:
    """Measure the weights that `train` saved in `folder`, and write predictions there.

    Args:
        folder: the folder that `train` wrote.
        data_dir: folder of the images to measure on; None: the trial's own data.
        split: `train`, `val`, `test` or `all`; None: `val`, or `all` if `data_dir` holds none of
            the trial's validation images.
        settings: how to run the measurement; any of `batch_size`, `budget`, `device`,
            `num_workers`, `skip_bad_images` and `drop_duplicates`.
        out: folder of the predictions; None: `folder`.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    return evaluate_folder(
        Path(folder),
        None if data_dir is None else Path(data_dir),
        split=split,
        settings=dict(settings or {}),
        out=None if out is None else Path(out),
    )


def _config(trial: Settings) -> TrialConfig:
    if isinstance(trial, TrialConfig):
        return trial
    if isinstance(trial, Mapping):
        return TrialConfig.from_mapping(trial)
    return TrialConfig.load(trial)
