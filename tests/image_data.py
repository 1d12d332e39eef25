"""Handmade images and masks, and where the real ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchtrain.config import TrialConfig
from patchtrain.datasets import load_dataset
from patchtrain.datasets.targets.masks import MaskFiles, MaskReader
from patchtrain.errors import DataError

_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def real(name: str) -> Path:
    path = _DATA / name
    if not path.exists():
        pytest.skip(f"real data {name} is not here")
    return path


def write(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def grey_image(height: int = 40, width: int = 60, value: int = 90) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def half_mask(height: int = 40, width: int = 60, value: int = 255) -> np.ndarray:
    """Return a mask whose left half is background."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = value
    return mask


def trial(dataset: str, data_dir: Path, **settings) -> TrialConfig:
    sizes = {"image_size": 64, "patch_size": 32}
    values = {"dataset": dataset, "data_dir": str(data_dir)}
    return TrialConfig.from_mapping(values | sizes | settings)


def error_of(config: TrialConfig) -> str:
    """Return the message with which loading the data of `config` is refused."""
    return _refusal(load_dataset, config)


def error_of_mask(reader: MaskReader | MaskFiles, *path: Path) -> str:
    """Return the message with which a mask is refused."""
    return _refusal(reader.read, *path)


def _refusal(read: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message


def damage(kind: str, path: Path) -> None:
    whole = path.read_bytes()
    path.unlink()
    if kind == "truncated":
        path.write_bytes(whole[: int(len(whole) * 0.6)])
    elif kind == "text":
        path.write_text("no image")
    elif kind == "zero_bytes":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "small":
        Image.fromarray(np.zeros((500, 20, 3), np.uint8)).save(path)
