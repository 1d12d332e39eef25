"""`patchtrain sample-data`: writes small generated data in the layout of a data set."""

from __future__ import annotations

import os
from pathlib import Path

from patchtrain.catalog.datasets import NUM_SUMS
from patchtrain.datasets import data_set
from patchtrain.errors import ConfigError

_ULTRAMNIST = "ultramnist"


def sample_data(
    name: str,
    out: Path,
    *,
    num_images: int,
    image_size: int,
    seed: int,
    data_dir: Path | None,
    mnist_dir: Path | None = None,
    num_classes: int | None = None,
    jobs: int | None = None,
) -> int:
    """Write a sample of the data set `name` as the folder `out`; return the exit status.

    Args:
        name: one of `sampled_names()`.
        out: new or empty folder.
        num_images: images to generate.
        image_size: longer side in px.
        seed: of what the images show, or of which images share a mosaic.
        data_dir: for coco_mosaic, make mosaics of the images in this folder instead.
        mnist_dir, num_classes, jobs: for ultramnist, see `samples.ultramnist.write_sample`.

    Raises:
        ConfigError: a number is out of range, an option is not for this data set, or `out` is not
            empty or cannot be written.
        DataError: something in `data_dir` or `mnist_dir` is missing, damaged or inconsistent.
    """
    own = {"--mnist-dir": mnist_dir, "--num-classes": num_classes, "--jobs": jobs}
    for option, value in own.items():
        if value is not None and name != _ULTRAMNIST:
            raise ConfigError(f"{option} {value}: only for ultramnist; leave it out")
    if data_dir is not None:
        return _real_mosaics(name, data_dir, out, seed)
    if name == _ULTRAMNIST:
        return _ultramnist(
            out,
            num_images,
            image_size,
            seed,
            mnist_dir=mnist_dir,
            num_classes=NUM_SUMS[0] if num_classes is None else num_classes,
            jobs=jobs,
        )
    data_set(name).write_sample(out, num_images, image_size, seed)
    print(f"{num_images} generated images (not real data) in {out}")
    return 0


def _ultramnist(
    out: Path,
    num_images: int,
    image_size: int,
    seed: int,
    *,
    mnist_dir: Path | None,
    num_classes: int,
    jobs: int | None,
) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from patchtrain.datasets.samples.ultramnist import write_sample

    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs} must be at least 1; raise it")
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("images", total=num_images)
        write_sample(
            out,
            num_images,
            image_size,
            seed,
            mnist_dir=None if mnist_dir is None else mnist_dir.expanduser(),
            num_classes=num_classes,
            jobs=jobs or os.cpu_count(),
            on_images=lambda num_done: bars.update(bar, completed=num_done),
        )
    if mnist_dir is None:
        print(
            f"{num_images} generated images (not real data) in {out}: of scikit-learn's scans of "
            "8 px, NOT of MNIST's digits; give --mnist-dir for those"
        )
    else:
        print(f"{num_images} images of MNIST's digits in {out}")
    return 0


def _real_mosaics(name: str, data_dir: Path, out: Path, seed: int) -> int:
    from patchtrain.commands.real_mosaics import write_mosaics

    if name != "coco_mosaic":
        raise ConfigError(f"--data: {name} is generated; leave it out")
    print(f"{write_mosaics(data_dir, out, seed)} mosaics in {out}")
    return 0
