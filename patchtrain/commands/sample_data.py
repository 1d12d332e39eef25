"""`patchtrain sample-data`: writes small generated data in the layout of a data set."""

from __future__ import annotations

from pathlib import Path

from patchtrain.datasets import data_set
from patchtrain.errors import ConfigError


def sample_data(
    name: str, out: Path, *, num_images: int, image_size: int, seed: int, data_dir: Path | None
) -> int:
    """Write a sample of the data set `name` as the folder `out`; return the exit status.

    Args:
        name: one of `sampled_names()`.
        out: new or empty folder.
        num_images: images to generate.
        image_size: longer side in px.
        seed: of what the images show, or of which images share a mosaic.
        data_dir: for coco_mosaic, make mosaics of the images in this folder instead.

    Raises:
        ConfigError: a number is out of range, or `out` is not empty or cannot be written.
        DataError: something in `data_dir` is missing, damaged or inconsistent.
    """
    if data_dir is not None:
        return _real_mosaics(name, data_dir, out, seed)
    data_set(name).write_sample(out, num_images, image_size, seed)
    print(f"{num_images} generated images (not real data) in {out}")
    return 0


def _real_mosaics(name: str, data_dir: Path, out: Path, seed: int) -> int:
    from patchtrain.commands.real_mosaics import write_mosaics

    if name != "coco_mosaic":
        raise ConfigError(f"--data: {name} is generated; leave it out")
    print(f"{write_mosaics(data_dir, out, seed)} mosaics in {out}")
    return 0
