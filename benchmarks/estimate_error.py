"""How exact the estimate of the peak is: predicted against metered, over many configurations.

    python benchmarks/estimate_error.py
    python benchmarks/estimate_error.py --task segmentation
    python benchmarks/estimate_error.py --task encoders      # segmentation around other networks
    python benchmarks/estimate_error.py --task detection
    python benchmarks/estimate_error.py --device stub        # all tasks, torch's CUDA allocator

Each configuration is predicted and then run for real on the CPU: the engine that trains, under the
meter, on random pixels, for whole batches until nothing new can be in memory, a batch of a single
image, the end of the epoch and the validation of a whole batch. One child process a configuration,
so that no run leaves anything to the next; one for configurations that differ in k or chunk alone,
so that the later ones are predicted in closed form. Methods, shapes and networks are listed here;
the other settings are drawn with a seed. Prints a table and writes it.

Longer than 400 lines because the configurations of all tasks are drawn, run and tabulated here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects, Objects
from patchtrain.engine import Engine
from patchtrain.errors import ConfigError
from patchtrain.estimation.predict import estimate
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.meter import BLOCK_BYTES
from patchtrain.memory.trace import ALLOCATE, FREE, Trace
from patchtrain.step.batch import HostBatch
from patchtrain.tasks import check_network, parts_of

BACKBONES = ("resnet18", "resnet50", "mobilenetv2_100", "convnext_tiny")

PATCH_SHAPES = (
    # image_size, patch_size, k, batch_size at most
    (256, 64, 1, 4),
    (256, 64, 5, 3),
    (512, 64, 64, 1),
    (256, 128, 2, 4),
    (384, 128, 8, 1),
    (512, 256, 1, 2),
    (512, 256, 3, 1),
    (1024, 512, 1, 1),
)
"""Shapes of the methods with patches; no pass with gradient has over 0.6 megapixels."""

MASK_NETWORKS = (
    ("unet", "resnet18"),
    ("unet", "resnet34"),
    ("deeplabv3", "resnet18"),
    ("deeplabv3", "resnet34"),
    ("unet_plain", "resnet18"),
)
MASK_SHAPES = ((256, 64, 3, 3), (512, 128, 2, 2), (384, 128, 5, 2), (512, 64, 10, 2))
"""As above."""

OTHER_ENCODERS = (
    ("unet", "vgg11"),
    ("unet", "efficientnet-b0"),
    ("deeplabv3", "efficientnet-b0"),
    ("unet", "mobilenet_v2"),
    ("unet", "timm-skresnet18"),
    ("unet", "mobileone_s0"),
    ("unet", "mit_b0"),
    ("deeplabv3", "mit_b0"),
    ("unet", "tu-convnext_atto"),
    ("unet", "tu-nf_resnet26"),
    ("unet", "tu-resnetv2_50x1_bit"),
    ("unet", "tu-mobilevit_xxs"),
)
"""Networks that are built, or compute, otherwise than residual ones."""

BOX_NETWORKS = (("resnet18", 64), ("resnet34", 128), ("resnet50", 256))
BOX_SHAPES = ((256, 64, 3, 3), (512, 128, 2, 2), (384, 128, 5, 2), (512, 64, 10, 2))
"""As above."""

MAX_RUN_S = 600
MAX_RUN_BYTES = 10 * 10**9

MAX_ERROR_PERCENT = 0.5


def main(argv: Sequence[str] | None = None) -> None:
    """Predict and run every configuration and report."""
    arguments = _parser().parse_args(argv)
    if arguments.device == "stub":
        _compare_on_stub(arguments)
        return
    groups = CONFIGURATIONS[arguments.task](arguments.seed)[: arguments.only]
    num_configs = sum(map(len, groups))
    started = time.perf_counter()
    rows: list[Row] = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["patchtrain.estimation.predict", "timm"])
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PATCHTRAIN_CACHE"] = cache  # nothing predicted before is known
        with context.Pool(arguments.jobs, maxtasksperchild=1) as pool:
            for group_rows in pool.imap(_compare_all, groups):
                for row in group_rows:
                    rows.append(row)
                    print(f"{len(rows)}/{num_configs} {row.line()}", flush=True)
    report = _report(rows, arguments.seed, time.perf_counter() - started)
    print(report)
    suffix = "" if arguments.task == "classification" else f"_{arguments.task}"
    out = Path(__file__).parent / "results" / f"estimate_error{suffix}.md"
    (arguments.out or out).write_text(report)


def _compare_on_stub(arguments: argparse.Namespace) -> None:
    from stub_error import compare_on_stub

    report = compare_on_stub(arguments.seed, arguments.jobs, arguments.only)
    print(report)
    out = arguments.out or Path(__file__).parent / "results" / "estimate_error_stub.md"
    out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", type=int, metavar="N", help="the first N child processes")
    parser.add_argument("--seed", type=int, default=0, help="of the settings that are drawn")
    parser.add_argument("--jobs", type=int, default=1, help="child processes at once")
    parser.add_argument("--task", choices=CONFIGURATIONS, default="classification")
    parser.add_argument("--device", choices=("cpu", "stub"), default="cpu")
    parser.add_argument("--out", type=Path, help="default: under results/")
    return parser


def configurations(seed: int) -> list[list[TrialConfig]]:
    """Return what is compared: every method, backbone and shape, other settings drawn. One list a
    child process.
    """
    draw = random.Random(seed)
    found = []
    for shape in PATCH_SHAPES:
        found += [_patches(draw, "local_global", backbone, *shape) for backbone in BACKBONES]
    for backbone in BACKBONES:
        shape = draw.choice(PATCH_SHAPES)
        found.append(_patches(draw, "patchgd", backbone, *shape))
        for method in ("downsampled", "full", "checkpointed"):
            found.append(_whole_images(draw, method, backbone))
    return [[config] for config in (*found, *_corners())] + _families()


def mask_configurations(seed: int) -> list[list[TrialConfig]]:
    """Return what is compared of segmentation: both architectures, every method, other settings
    drawn; one list a child process.
    """
    draw = random.Random(seed)
    found = []
    for backbone, encoder in MASK_NETWORKS:
        for method in ("local_global", "local_global", "patchgd", "tiled", "downsampled", "full"):
            shape = draw.choice(MASK_SHAPES)
            found.append(
                _config(
                    **draw.choice(({"dataset": "drive"}, {"dataset": "aerial"})),
                    method=method,
                    backbone=backbone,
                    encoder=encoder,
                    aggregator="conv1x1",
                    **_of_maps(draw, method, shape),
                )
            )
    small = {"dataset": "drive", "backbone": "unet", "encoder": "resnet18", "batch_size": 1}
    small |= {"image_size": 1024, "patch_size": 128, "norm": "group", "aggregator": "conv1x1"}
    by_k = [_config(**small, sampling_rate=k / 64) for k in (4, 12, 6, 9)]
    return [[config] for config in found] + [by_k]


def encoder_configurations(seed: int) -> list[list[TrialConfig]]:
    """Return one small configuration of segmentation around each of `OTHER_ENCODERS`."""
    draw = random.Random(seed)
    return [
        [
            _config(
                dataset="drive",
                method="local_global",
                backbone=backbone,
                encoder=encoder,
                aggregator="conv1x1",
                **_of_maps(draw, "local_global", draw.choice(((128, 32, 5, 2), (256, 64, 3, 2)))),
            )
        ]
        for backbone, encoder in OTHER_ENCODERS
    ]


def box_configurations(seed: int) -> list[list[TrialConfig]]:
    """Return the same of detection: both layouts of Z."""
    draw = random.Random(seed)
    found = []
    for backbone, channels in BOX_NETWORKS:
        for method, layout in (
            ("local_global", "tile"),
            ("local_global", "tile"),
            ("local_global", "stack"),
            ("patchgd", "tile"),
            ("patchgd", "stack"),
            ("tiled", "tile"),
            ("downsampled", "tile"),
            ("full", "tile"),
        ):
            shape = draw.choice(BOX_SHAPES)
            found.append(
                _config(
                    dataset="coco_mosaic",
                    num_classes=draw.choice((1, 10, 80)),
                    method=method,
                    layout=layout,
                    backbone=backbone,
                    latent_channels=channels,
                    **_of_maps(draw, method, shape),
                )
            )
    large = {"dataset": "coco_mosaic", "num_classes": 10, "backbone": "resnet18", "batch_size": 1}
    large |= {"image_size": 1024, "patch_size": 128, "norm": "group", "latent_channels": 64}
    by_k = [_config(**large, sampling_rate=k / 64) for k in (4, 12, 6, 9)]
    return [[config] for config in found] + [by_k]


CONFIGURATIONS = {
    "classification": configurations,
    "segmentation": mask_configurations,
    "encoders": encoder_configurations,
    "detection": box_configurations,
}


def _patches(
    draw: random.Random, method: str, backbone: str, image: int, patch: int, k: int, batch: int
) -> TrialConfig:
    inner_iterations = draw.choice((1, 1, 2, 3))
    return _config(
        method=method,
        backbone=backbone,
        aggregator=draw.choice(("same", "same", "small_cnn", "attention")),
        image_size=image,
        patch_size=patch,
        sampling_rate=_rate(image, patch, k),
        fusion=draw.choice(("add", "concat")),
        inner_iterations=inner_iterations,
        batch_size=draw.randint(1, batch),
        **_drawn(draw),
    )


def _whole_images(draw: random.Random, method: str, backbone: str) -> TrialConfig:
    side = draw.choice((128, 160, 224))
    return _config(
        method=method,
        backbone=backbone,
        image_size=1024 if method == "downsampled" else side,
        patch_size=side,
        batch_size=draw.randint(2, 3),
        **_drawn(draw),
    )


def _of_maps(draw: random.Random, method: str, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """Return the settings of tasks whose features are maps."""
    image, patch, k, batch = shape
    cut = catalog.method(method).samples_patches
    return {
        "image_size": image if cut else 256,
        "patch_size": patch if cut else 128,
        "sampling_rate": _rate(image, patch, k),
        "fusion": draw.choice(("add", "concat", "concat")),
        "inner_iterations": draw.choice((1, 2)),
        "batch_size": draw.randint(2, max(2, batch)),
        **_drawn(draw),
    }


def _drawn(draw: random.Random) -> dict[str, Any]:
    return {
        "norm": draw.choice(("batch", "batch", "frozen", "group")),
        "precision": draw.choice(("fp32", "fp32", "bf16")),
        "patch_microbatch": draw.choice(("none", "none", 1, 3, 8)),
        "accumulation_steps": draw.choice((1, 1, 1, 2, 3)),
        "optimizer_kernel": draw.choice(("auto", "auto", "loop", "foreach")),
    }


def _families() -> list[list[TrialConfig]]:
    """Return lists of configurations that differ in k, or in k and the chunk."""
    small = {"image_size": 512, "patch_size": 64, "batch_size": 1}
    by_k = [
        _config(backbone="resnet18", sampling_rate=k / 64, **small) for k in (8, 30, 13, 19, 27)
    ]
    by_k_and_chunk = [
        _config(
            method="patchgd",
            backbone="mobilenetv2_100",
            norm="group",
            sampling_rate=k / 64,
            patch_microbatch=chunk,
            **small,
        )
        for k, chunk in ((20, 3), (28, 3), (20, 4), (25, 5), (31, 7), (29, 6), (17, 3))
    ]
    return [by_k, by_k_and_chunk]


def _corners() -> list[TrialConfig]:
    small = {"backbone": "resnet18", "image_size": 256, "patch_size": 64, "sampling_rate": 0.25}
    corners: list[dict[str, Any]] = [
        {"precision": "fp16"},
        {"precision": "fp16", "norm": "group", "patch_microbatch": 3, "accumulation_steps": 2},
        {"optimizer_kernel": "fused"},
        {"optimizer_kernel": "foreach"},
        {"optimizer_kernel": "loop"},
        {"optimizer_kernel": "foreach", "accumulation_steps": 2, "inner_iterations": 2},
        {"drop_rate": 0.2, "norm": "group", "patch_microbatch": 3},
        {"channels_last": False},
        {"batch_size": 1, "norm": "group", "patch_microbatch": 1},
        {"backbone": "resnet50", "precision": "bf16", "norm": "group", "patch_microbatch": 1},
        {"backbone": "convnext_tiny", "precision": "bf16", "patch_microbatch": 1},
    ]
    return [_config(**{**small, **corner}) for corner in corners]


def _config(**settings: Any) -> TrialConfig:
    defaults = {"inner_iterations": 1, "batch_size": 2, "epochs": 1, "device": "cpu"}
    return TrialConfig.from_mapping({**defaults, **settings})


def _rate(image_size: int, patch_size: int, k: int) -> float:
    return k / (image_size // patch_size) ** 2


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration, predicted and run."""

    config: TrialConfig
    source: str
    """Of the prediction: `dry run`, `closed form` or `cache`."""
    predicted_bytes: int
    predicted_phase: str
    predicted_for: dict[str, int]
    num_tensors: int
    """Live at the predicted peak."""
    metered_bytes: int | None
    metered_phase: str | None
    metered_for: dict[str, int]
    failure: str | None
    """Why there was no run to the end."""

    @property
    def error_bytes(self) -> int | None:
        """By how much the prediction is higher."""
        return None if self.metered_bytes is None else self.predicted_bytes - self.metered_bytes

    @property
    def error_percent(self) -> float:
        """Size of the error in % of what was metered."""
        if self.error_bytes is None or self.metered_bytes is None:
            return 0.0
        return 100 * abs(self.error_bytes) / self.metered_bytes

    @property
    def blocks_too_low_per_tensor(self) -> float:
        """By how many blocks of `BLOCK_BYTES` a tensor the prediction is too low."""
        return max(0, -(self.error_bytes or 0)) / BLOCK_BYTES / self.num_tensors

    def line(self) -> str:
        """Return the row of the table."""
        config = self.config
        name = config.backbone
        if config.task == "segmentation":
            name = f"{name} {parts_of(config).encoder_name(config) or ''} ({config.dataset})"
        elif config.task == "detection":
            name = f"{name}, {config.latent_channels} channels, {config.layout}"
        cells: list[Any] = [config.method, name]
        if config.samples_patches:
            shape = f"{config.image_size}/{config.patch_size}"
            fusion = config.fusion if config.method == "local_global" else ""
            cells += [
                parts_of(config).aggregator_name(config) or "",
                shape,
                config.num_sampled,
                config.inner_iterations,
                fusion,
            ]
        else:
            side = config.patch_size if config.method == "downsampled" else config.image_size
            cells += ["", side, "", "", ""]
        more = {
            "drop": config.drop_rate or "",
            "planar": "" if config.channels_last else "yes",
        }
        others = " ".join(f"{name} {value}" for name, value in more.items() if value)
        cells += [
            config.batch_size,
            config.norm,
            config.precision,
            config.patch_microbatch,
            config.accumulation_steps,
            config.optimizer_kernel,
            others,
            self.source,
            self.predicted_bytes,
            self.failure if self.metered_bytes is None else self.metered_bytes,
            "" if self.error_bytes is None else self.error_bytes,
            f"{self.error_percent:.4f}",
            self.num_tensors,
            self.metered_phase,
        ]
        return "| " + " | ".join(map(str, cells)) + " |"


_HEADER = (
    "method | backbone | aggregator | image/patch px | k | J | fusion | batch | norm | precision | "
    "chunk | accumulation | optimizer | other | source | predicted bytes | metered bytes | "
    "error bytes | error % | tensors | phase of the peak"
)


def _compare_all(configs: Sequence[TrialConfig]) -> list[Row]:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_RUN_BYTES, resource.RLIM_INFINITY))
    return [_compare(config) for config in configs]


def _compare(config: TrialConfig) -> Row:
    predicted = estimate(config)
    metered_bytes, phase, by_category, failure = None, None, {}, None
    try:
        peak = _metered(config)
        metered_bytes, phase, by_category = peak.allocated_bytes, peak.phase, peak.by_category
    except (RuntimeError, TimeoutError) as error:
        failure = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    return Row(
        config=config,
        source=predicted.source,
        predicted_bytes=predicted.predicted_peak_bytes,
        predicted_phase=predicted.phase,
        predicted_for={name: value for name, value in predicted.attribution.items() if value},
        num_tensors=_num_live_at_peak(predicted._trace),
        metered_bytes=metered_bytes,
        metered_phase=phase,
        metered_for={name: value for name, value in by_category.items() if value},
        failure=failure,
    )


def _metered(config: TrialConfig) -> Any:
    """Return the metered peak of a run of `config` that reaches its steady state."""
    pixels = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)

    def batch(num: int) -> HostBatch:
        shape = (config.image_size, config.image_size, 3)
        images = [pixels.integers(0, 256, shape, np.uint8) for _ in range(num)]
        if config.task == "segmentation":
            masks = pixels.integers(0, num_classes(config), (num, *shape[:2]), np.uint8)
            return HostBatch(images, list(masks))
        if config.task == "detection":
            nothing = Annotation(Objects.none(), np.zeros(0), *shape[:2], Path())
            return HostBatch(images, [FittedObjects(nothing.objects, nothing)] * num)
        return HostBatch(images, np.arange(num) % num_classes(config))

    sizes = [config.batch_size] * _num_batches(config)
    if _takes_one_image(config):
        sizes.append(1)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(MAX_RUN_S)
    try:
        with MemoryGuard(torch.device("cpu"), None) as guard:
            engine = Engine(
                config, num_classes(config), guard, batches_per_epoch=len(sizes), epochs=1
            )
            for size in sizes:
                engine.train_batch(batch(size), generator)
            engine.finish_epoch()
            engine.predict(batch(config.batch_size))
            return guard.peak()
    finally:
        signal.alarm(0)


def _num_batches(config: TrialConfig) -> int:
    """Return how many batches show all: optimizer state, and gradients held while the next are
    made, both at once in the fullest group of inner iterations.
    """
    iterations = config.inner_iterations if config.samples_patches else 1
    return max(2, -(-2 * config.accumulation_steps // iterations))


def _takes_one_image(config: TrialConfig) -> bool:
    try:
        check_network(config, batch_size=1)
    except ConfigError:
        return False
    return True


def _out_of_time(*_: object) -> None:
    raise TimeoutError(f"over {MAX_RUN_S} s")


def _num_live_at_peak(trace: Trace) -> int:
    blocks = -(-trace.num_bytes // BLOCK_BYTES)
    sign = np.where(trace.kind == ALLOCATE, 1, np.where(trace.kind == FREE, -1, 0))
    top = int(np.cumsum(blocks * sign).argmax())
    return int((sign * (trace.num_bytes > 0))[: top + 1].sum())


def _report(rows: Sequence[Row], seed: int, seconds: float) -> str:
    ran = [row for row in rows if row.error_bytes is not None]
    errors = [row.error_bytes or 0 for row in ran]
    worst = sorted(ran, key=lambda row: row.error_percent, reverse=True)
    most = worst[0].error_percent
    too_low = max(row.blocks_too_low_per_tensor for row in ran)
    kept = most <= MAX_ERROR_PERCENT and too_low <= 1
    sources = [row.source for row in ran]
    counts = ", ".join(f"{sources.count(name)} {name}" for name in sorted(set(sources)))
    same_phase = sum(row.predicted_phase == row.metered_phase for row in ran)
    same_use = sum(row.predicted_for == row.metered_for for row in ran)
    lines = [
        "# Predicted peak against metered peak",
        "",
        f"{len(ran)} configurations on the CPU, seed {seed}, {seconds / 60:.0f} minutes; "
        f"{_versions()}",
        "",
        f"Goal: no error over {MAX_ERROR_PERCENT} %, and never too low by more than one "
        f"{BLOCK_BYTES}-byte block per tensor. {'Kept.' if kept else 'Missed.'}",
        "",
        "| | |",
        "| --- | --- |",
        f"| configurations | {len(ran)} ({counts}) |",
        f"| without a run to the end | {len(rows) - len(ran)} |",
        f"| exact to the byte | {errors.count(0)} |",
        f"| largest error | {most:.4f} % |",
        f"| most bytes too low | {max(0, -min(errors))} |",
        f"| most blocks of {BLOCK_BYTES} bytes too low per live tensor | {too_low:.4f} |",
        f"| most bytes too high | {max(0, *errors)} |",
        f"| same phase of the peak | {same_phase} |",
        f"| same bytes for parameters, gradients, activations, ... | {same_use} |",
        "",
        "Error: predicted minus metered. Chunk: `patch_microbatch`. Tensors: live at the predicted "
        "peak.",
        "",
        "## The 10 worst",
        "",
        *_table(worst[:10]),
        "",
        "## All",
        "",
        *_table(rows),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    separator = "| " + " | ".join("---" for _ in _HEADER.split(" | ")) + " |"
    return [f"| {_HEADER} |", separator, *(row.line() for row in rows)]


def _versions() -> str:
    found = {name: version(name) for name in ("torch", "timm")}
    return json.dumps({"python": platform.python_version(), **found, "cpu": _processor()})


def _processor() -> str:
    """Return the processor's name and its features that decide which kernels run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {key.strip(): value.strip() for key, value in told.items()}
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
    features = [name for name in wanted if name in told.get("flags", "").split()]
    return " ".join([told.get("model name", platform.machine()), f"x{os.cpu_count()}", *features])


if __name__ == "__main__":
    main()
