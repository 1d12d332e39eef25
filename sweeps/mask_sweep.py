"""What the sweeps of segmentation share: all but the data set and its sizes."""

from __future__ import annotations

from sweeps.plan import Preset, Sweep


def mask_sweep(
    dataset: str,
    description: str,
    *,
    image_size: int,
    budgets: tuple[str, ...],
    sample_num_images: int,
) -> Sweep:
    """Return the sweep of U-Net on `dataset`.

    Args:
        image_size, budgets: on the real data set.
        sample_num_images: of the generated one.
    """
    small = {
        "dataset": dataset,
        "encoder": "tu-test_resnet",
        "sample_num_images": sample_num_images,
    }
    return Sweep(
        name=f"{dataset}_budget",
        description=description,
        full=Preset(
            settings={
                "dataset": dataset,
                "image_size": image_size,
                "backbone": "unet",
                "encoder": "resnet34",
                "epochs": 100,
            },
            budgets=budgets,
            num_trials=60,
        ),
        sample=Preset(
            settings=small | {"image_size": 256, "epochs": 3},
            budgets=("100MB", "200MB"),
            num_trials=12,
            max_inner_iterations=4,
        ),
        smoke=Preset(
            settings=small | {"image_size": 128, "epochs": 1},
            budgets=("52MB", "90MB"),
            num_trials=4,
            max_inner_iterations=2,
        ),
    )
