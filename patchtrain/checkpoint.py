"""A trial's state on disk: `model.safetensors`, `optimizer.pt` and `state.json` in one folder;
between two batches of an epoch `epoch.pt` as well.

Does not know what the state means.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from patchtrain.errors import DataError, not_given

_WEIGHTS, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.pt", "state.json"
_EPOCH = "epoch.pt"


def save_checkpoint(
    folder: Path,
    weights: dict[str, Tensor],
    optimizer: dict[str, Any],
    state: dict[str, Any],
    epoch: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint; an older one in `folder` stays readable until the new one is whole.

    Args:
        epoch: tensors of an epoch that has begun; None between two epochs.
    """
    temporary = _newer(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, temporary / _WEIGHTS)
    torch.save(optimizer, temporary / _OPTIMIZER)
    if epoch is not None:
        torch.save(epoch, temporary / _EPOCH)
    (temporary / _STATE).write_text(json.dumps(state, indent=2) + "\n")
    older = _older(folder)
    if folder.exists():  # otherwise `older` may be the only whole one
        shutil.rmtree(older, ignore_errors=True)
        folder.rename(older)
    temporary.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def tidy_checkpoint(folder: Path) -> None:
    """Remove what a kill left next to a whole checkpoint in `folder`."""
    if (folder / _STATE).exists():
        shutil.rmtree(_older(folder), ignore_errors=True)
        shutil.rmtree(_newer(folder), ignore_errors=True)


def has_checkpoint(folder: Path) -> bool:
    """Return whether `folder` holds a whole checkpoint, or did before a write was interrupted."""
    return (folder / _STATE).exists() or (_older(folder) / _STATE).exists()


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Return the network's weights, on the host.

    Raises:
        DataError: they are missing or damaged.
    """
    return _read(folder, _WEIGHTS, load_file)


def load_optimizer(folder: Path) -> dict[str, Any]:
    """Return the optimizer's state, on the host. Raises as `load_weights`."""
    return _read(folder, _OPTIMIZER, _load)


def load_epoch(folder: Path) -> dict[str, Any]:
    """Return the tensors of an epoch that has begun, on the host. Raises as `load_weights`."""
    return _read(folder, _EPOCH, _load)


def load_state(folder: Path) -> dict[str, Any]:
    """Return the rest of the state. Raises as `load_weights`."""
    return _read(folder, _STATE, lambda path: dict(json.loads(path.read_text())))


def _load(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def _read(folder: Path, name: str, reader: Any) -> Any:
    path = folder / name
    if not folder.exists() and _older(folder).exists():  # interrupted between the two renames
        path = _older(folder) / name
    if not path.is_file():
        raise DataError(f"{path}: no such checkpoint file; train first, or give another folder")
    try:
        return reader(path)
    except Exception as error:
        refused = not_given(error)
        if refused is not None:
            raise DataError(f"{path}: {refused}") from None
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: damaged ({reason}); remove the folder and train again") from None


def _newer(folder: Path) -> Path:
    return folder.with_name(folder.name + ".new")


def _older(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")
