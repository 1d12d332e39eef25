"""What the sweeps of detection share: all but the data set."""

from __future__ import annotations

from sweeps.plan import Preset, Sweep


def box_sweep(dataset: str, description: str) -> Sweep:
    """Return the sweep of FCOS on `dataset`: the paper's 4096 px and 300 epochs."""
    small = {
        "dataset": dataset,
        "backbone": "test_resnet",
        "latent_channels": 64,
        "sample_num_images": 16,
    }
    return Sweep(
        name=f"{dataset}_budget",
        description=description,
        full=Preset(
            settings={
                "dataset": dataset,
                "image_size": 4096,
                "backbone": "resnet50",
                "batch_size": 1,
                "epochs": 300,
            },
            budgets=("4GB", "8GB", "16GB"),
            num_trials=60,
        ),
        sample=Preset(
            settings=small | {"image_size": 512, "epochs": 3},
            budgets=("60MB", "120MB"),
            num_trials=12,
            max_inner_iterations=4,
        ),
        smoke=Preset(
            settings=small | {"image_size": 256, "epochs": 1},
            budgets=("40MB", "90MB"),
            num_trials=4,
            max_inner_iterations=2,
        ),
    )
