"""The dry run reports what a metered run allocates, and allocates nothing itself."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import (
    NUM_CLASSES,
    tiny,
    tiny_boxes,
    tiny_masks,
)
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation.dry_run import dry_run
from patchtrain.estimation.kernels import AsKernelsDo
from patchtrain.memory.meter import BLOCK_BYTES, CATEGORIES
from patchtrain.memory.trace import Trace
from patchtrain.tasks import build_network
from patchtrain.tasks.detection import reader as detection
from patchtrain.tasks.segmentation import reader as segmentation
from patchtrain.testing.trials import Held, train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def predicted(
    config: TrialConfig, target: torch.device = CPU, num_classes: int = NUM_CLASSES
) -> Held:
    peak = dry_run(config, num_classes, target).peak(BLOCK_BYTES, len(CATEGORIES))
    by_category = dict(zip(CATEGORIES, peak.by_category, strict=True))
    return Held(peak.num_bytes, peak.phase, by_category)


def measured(config: TrialConfig) -> Held:
    """What a run on random images holds, as the meter counts it."""
    return train(config, num_classes=config.num_classes or NUM_CLASSES).held


# 2 of 4 patches of each of 2 images
SMALL = tiny(image_size=64, sampling_rate=0.5)

CASES: dict[str, dict[str, Any]] = {
    "the_default": {"image_size": 128, "sampling_rate": 0.2},
    "patchgd": {"method": "patchgd", "sampling_rate": 1.0},
    "downsampled": {"method": "downsampled"},
    # accumulation over inner iterations and over batches
    "groups_that_divide": {
        "inner_iterations": 4, "accumulation_steps": 2, "patch_microbatch": 3, "norm": "group",
    },
    "groups_across_batches": {
        "inner_iterations": 3, "accumulation_steps": 2, "method": "patchgd",
        "aggregator": "attention",
    },
    "groups_longer_than_a_batch": {
        "inner_iterations": 2, "accumulation_steps": 5, "norm": "frozen",
    },
    "groups_of_batches": {"method": "full", "accumulation_steps": 2, "image_size": 128},
    "groups_of_many_batches": {
        "method": "downsampled", "accumulation_steps": 3, "optimizer_kernel": "foreach",
        "precision": "fp16", "norm": "group",
    },
    # mixed precision
    "bf16": {
        "precision": "bf16", "patch_microbatch": 3, "optimizer_kernel": "foreach",
        "aggregator": "same", "fusion": "concat", "inner_iterations": 1,
    },
    "fp16": {
        "precision": "fp16", "inner_iterations": 1, "method": "patchgd", "batch_size": 1,
        "norm": "frozen", "patch_microbatch": 1, "optimizer_kernel": "loop",
    },
    # the global patch with the fill
    "filled": {"global_pass": "filled", "fusion": "concat"},
    "filled_one_patch_at_a_time": {
        "global_pass": "filled", "norm": "group", "patch_microbatch": 1, "precision": "bf16",
        "fusion_scale": 0.0, "inner_iterations": 3, "accumulation_steps": 2,
    },
    "scaled": {"fusion_scale": 0.0, "fusion": "concat", "precision": "bf16"},
    # norms, chunks and one image
    "batch_norm_in_chunks_of_an_image": {"patch_microbatch": 1, "inner_iterations": 1},
    "one_image_bf16": {"batch_size": 1, "method": "full", "norm": "group", "precision": "bf16"},
    "one_patch_at_a_time_bf16": {"norm": "group", "precision": "bf16", "patch_microbatch": 1},
    "one_image_with_dropout_in_chunks": {
        "drop_rate": 0.4, "norm": "group", "patch_microbatch": 2, "batch_size": 1,
    },
    "dropout_checkpointed": {"drop_rate": 0.4, "method": "checkpointed", "batch_size": 3},
    # networks
    "aggregator_that_wants_two_images": {
        "aggregator": "mobilenetv4_conv_small_035", "inner_iterations": 1,
    },
    "convnext": {
        "backbone": "test_convnext", "channels_last": False, "patch_microbatch": 2,
        "method": "full",
    },
    "transformer": {"backbone": "test_vit", "inner_iterations": 1, "patch_microbatch": 2},
    "transformer_in_groups_of_batches": {
        "backbone": "test_vit", "method": "downsampled", "accumulation_steps": 3,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_dry_run_holds_what_a_metered_run_holds(name):
    config = replace(SMALL, **CASES[name])
    assert predicted(config) == measured(config)


# 64 px in patches of 32: read 1 cell at a time or all at once
SMALL_MASKS = tiny_masks(image_size=64, sampling_rate=0.5, num_classes=2)

MASK_CASES: dict[str, dict[str, Any]] = {
    "the_default": {"image_size": 128, "sampling_rate": 0.2},
    "added_in_chunks": {"fusion": "add", "patch_microbatch": 2, "norm": "group"},
    "joint": {"global_pass": "joint"},
    "joint_in_chunks": {
        "global_pass": "joint", "patch_microbatch": 1, "norm": "frozen", "precision": "bf16",
        "fusion": "add", "fusion_scale": 0.0,
    },
    "patchgd_of_many_classes": {"method": "patchgd", "num_classes": 7, "precision": "bf16"},
    "all_sampled": {"sampling_rate": 1.0},
    "tiled": {"method": "tiled", "image_size": 128, "patch_microbatch": 3},
    "downsampled": {"method": "downsampled", "num_classes": 4},
    "full_in_groups": {"method": "full", "accumulation_steps": 2},
    "groups_across_batches": {"inner_iterations": 3, "accumulation_steps": 2, "precision": "bf16"},
    "deeplabv3": {"backbone": "deeplabv3", "image_size": 128, "drop_rate": 0.3},
    "transformer": {"encoder": "mit_b0", "image_size": 128, "norm": "group"},
    "dilated_transformer": {"encoder": "mit_b0", "backbone": "deeplabv3", "method": "patchgd"},
    "deeplabv3_downsampled": {"backbone": "deeplabv3", "method": "downsampled"},
    "unet_plain": {"backbone": "unet_plain", "batch_size": 1, "patch_microbatch": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cells_at_once"),
    [*((name, 1) for name in MASK_CASES), ("the_default", 64), ("tiled", 64), ("deeplabv3", 64)],
)
def test_the_dry_run_of_segmentation_holds_what_a_metered_run_holds(
    name, cells_at_once, monkeypatch
):
    monkeypatch.setattr(segmentation, "PIECE_PX", cells_at_once * 32**2)
    config = replace(SMALL_MASKS, **MASK_CASES[name])
    assert predicted(config, num_classes=config.num_classes) == measured(config)


# 128 px in patches of 64: windows of the whole map and parts of it
SMALL_BOXES = tiny_boxes(image_size=128, sampling_rate=0.5)

BOX_CASES: dict[str, dict[str, Any]] = {
    "the_default": {"image_size": 256, "sampling_rate": 0.2},
    "added_in_chunks": {"fusion": "add", "patch_microbatch": 2, "norm": "group"},
    "filled": {"global_pass": "filled", "fusion_scale": 0.0},
    "stack_filled": {"layout": "stack", "global_pass": "filled", "precision": "bf16"},
    "stack_scaled": {"layout": "stack", "fusion": "add", "fusion_scale": 0.0, "batch_size": 1},
    "all_sampled": {"sampling_rate": 1.0, "method": "patchgd"},
    "stack": {"layout": "stack", "image_size": 192},
    "stack_added": {"layout": "stack", "fusion": "add", "precision": "bf16"},
    "stack_of_all": {"layout": "stack", "sampling_rate": 1.0, "method": "patchgd"},
    "tiled": {"method": "tiled", "patch_microbatch": 3, "precision": "bf16"},
    "downsampled": {"method": "downsampled"},
    "full_in_groups": {"method": "full", "accumulation_steps": 2},
    "groups_across_batches": {"inner_iterations": 3, "accumulation_steps": 2, "precision": "bf16"},
    "one_at_a_time": {"batch_size": 1, "patch_microbatch": 1, "norm": "frozen"},
}


@pytest.mark.parametrize(
    ("name", "windows_at_once"),
    [*((name, 1) for name in BOX_CASES), ("the_default", 64), ("tiled", 64)],
)
def test_the_dry_run_of_detection_holds_what_a_metered_run_holds(
    name, windows_at_once, monkeypatch
):
    monkeypatch.setattr(detection, "PIECE_PX", windows_at_once * 64**2)
    config = replace(SMALL_BOXES, **BOX_CASES[name])
    assert predicted(config, num_classes=config.num_classes) == measured(config)


def test_an_aggregator_that_wants_two_images_cannot_train_on_one():
    settings = CASES["aggregator_that_wants_two_images"]
    config = replace(SMALL, **settings, batch_size=1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        measured(config)


def test_inner_iterations_and_groups_change_nothing_once_they_are_shown():
    def held(inner_iterations: int, accumulation_steps: int) -> Held:
        return predicted(
            replace(
                SMALL,
                method="patchgd",
                norm="frozen",
                inner_iterations=inner_iterations,
                accumulation_steps=accumulation_steps,
            )
        )

    assert held(1, 1) == held(7, 1)
    assert held(3, 2) == held(1, 5)


def settings() -> list[Any]:
    """What a careless run would leave changed."""
    return [
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        torch.utils._python_dispatch._get_current_dispatch_mode(),
    ]


@pytest.mark.parametrize("target", [CPU, CUDA])
def test_random_state_and_settings_of_torch_stay_as_they_were(target):
    torch.manual_seed(5)
    before = settings()
    config = tiny(method="downsampled", precision="fp16", drop_rate=0.5, seed=9)
    dry_run(config, NUM_CLASSES, target)
    assert settings() == before
    with pytest.raises(ConfigError):
        dry_run(tiny(backbone="no_such_network"), NUM_CLASSES, target)
    assert settings() == before


def test_a_cuda_device_need_not_be_there(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(torch.cuda, "_lazy_init", refuse)
    config = replace(SMALL, device="cuda", norm="frozen", patch_microbatch=2, channels_last=True)
    held = predicted(config, CUDA)
    # apart from what kernels need besides tensors, a device holds the same
    assert held == predicted(config)


def test_on_cuda_channels_lie_apart_unless_told():
    def events(target: torch.device, channels_last: bool | str) -> Trace:
        config = tiny(method="downsampled", norm="frozen", channels_last=channels_last)
        return dry_run(config, NUM_CLASSES, target)

    assert events(CUDA, "auto").same_events(events(CUDA, False))
    assert events(CPU, "auto").same_events(events(CPU, True))
    assert not events(CUDA, "auto").same_events(events(CUDA, True))


@pytest.mark.parametrize("method", ["full", "local_global", "patchgd"])
def test_memory_and_time_do_not_grow_with_the_image(method):
    """65,536 px: a batch of 26 GB, 1.3 GB of it sampled."""
    config = tiny(
        method=method,
        image_size=65_536,
        patch_size=512,
        sampling_rate=0.05,
        patch_microbatch=8,
        norm="frozen",
    )
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = predicted(config)
    grown_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib)
    assert grown_bytes < 2**29
    assert held.num_bytes > (100 * 2**30 if method == "full" else 2**27)


def test_what_a_library_builds_and_drops_again_is_not_held(monkeypatch):
    """As the classifier of half a gigabyte around which smp builds its VGG."""
    config = tiny(method="downsampled")

    def wasteful(*args, **kwargs):
        torch.nn.Linear(4096, 4096)
        return build_network(*args, **kwargs)

    monkeypatch.setattr("patchtrain.engine.build_network", wasteful)
    held = measured(config)
    assert held.num_bytes < 4 * 4096**2
    assert held == predicted(config)


OF_SINGLE_VALUES = {
    "relu": torch.relu,
    "silu": functional.silu,
    "leaky_relu": functional.leaky_relu,
    "relu6": functional.relu6,
    "cast": lambda maps: maps.to(torch.bfloat16),
    "copied": torch.clone,
    "added": lambda maps: maps + maps,
    "scaled": lambda maps: 2 * maps,
    "weighed": lambda maps: maps * maps[:, :, :1, :1],
    "in_place": torch.relu_,
}


@pytest.mark.parametrize("name", OF_SINGLE_VALUES)
@pytest.mark.parametrize("side", [1, 3])
def test_maps_lie_in_memory_as_kernels_lay_them(name, side):
    """Of one pixel too, whose layout is ambiguous: it decides whether a gradient is copied."""

    def strides() -> tuple[int, ...]:
        maps = torch.zeros(5, 8, side, side).to(memory_format=torch.channels_last)
        maps = functional.conv2d(maps, torch.zeros(8, 8, 1, 1))
        return OF_SINGLE_VALUES[name](maps).stride()

    real = strides()
    with FakeTensorMode(), AsKernelsDo(torch.device("cpu")):
        assert strides() == real


def test_two_dry_runs_are_equal_event_by_event():
    for precision in ("fp32", "bf16"):
        config = tiny(method="downsampled", precision=precision)
        one, other = (dry_run(config, NUM_CLASSES, CPU) for _ in range(2))
        assert one.same_events(other)
        assert (one.num_bytes == other.num_bytes).all()


def test_weights_need_not_be_there():
    config = tiny(method="downsampled")
    missing = replace(config, weights="/nowhere/weights.safetensors")
    assert predicted(missing) == predicted(config)


def test_a_budget_is_not_enforced():
    assert predicted(tiny(method="downsampled", budget=1)).num_bytes > 1


TRUNCATED = """
import sys, torch
from torch import nn
from patchtrain.estimation import dry_run
weight = torch.full((1000,), 1e9)  # as memory can be that was used before
with dry_run._NoRandomFills():
    if sys.argv[1] == "quickly":
        with dry_run._without_truncation():
            nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
    else:
        nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
print(weight.abs().max().item() < 1)
"""


@pytest.mark.parametrize(("how", "is_drawn"), [("quickly", False), ("slowly", True)])
def test_weights_that_are_drawn_until_they_suit_end(how, is_drawn):
    """Nothing is drawn in a dry run, so that what does not suit would never change."""
    words = [sys.executable, "-c", TRUNCATED, how]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == str(is_drawn), done.stderr
