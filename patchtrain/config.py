"""`TrialConfig`: everything that decides how one trial runs, checked before any work starts.

Knows nothing of models or files; names of backbones are checked where models are built.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from patchtrain.errors import ConfigError
from patchtrain.units import parse_budget

Task = Literal["classification", "segmentation", "detection"]
Dataset = Literal["panda", "drive", "aerial", "image_masks", "coco", "coco_mosaic", "soda", "tju"]
MethodName = Literal["local_global", "patchgd", "tiled", "downsampled", "full", "checkpointed"]
Fusion = Literal["add", "concat"]
Layout = Literal["tile", "stack"]
AreaRanges = Literal["coco", "soda"]
Norm = Literal["batch", "frozen", "group"]
Precision = Literal["fp32", "bf16", "fp16"]
Microbatch = Literal["auto", "none"]
OptimizerKernel = Literal["auto", "fused", "foreach", "loop"]

LATENT_METHODS: frozenset[str] = frozenset({"local_global", "patchgd"})
"""Methods that keep a latent block of all patches."""

PATCH_METHODS: frozenset[str] = LATENT_METHODS | {"tiled"}
"""Methods that cut the image into a grid of patches and learn from sampled ones."""

TASK_OF: Mapping[str, str] = {
    "panda": "classification",
    "drive": "segmentation",
    "aerial": "segmentation",
    "image_masks": "segmentation",
    "coco": "detection",
    "coco_mosaic": "detection",
    "soda": "detection",
    "tju": "detection",
}
"""Data set -> its task."""

_TASK_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "classification": {},
    "segmentation": {
        "backbone": "unet",
        "aggregator": "conv1x1",
        "fusion": "concat",
        "learning_rate": 1e-4,
    },
    "detection": {
        "aggregator": "conv1x1",
        "fusion": "concat",
        "latent_channels": 256,
        "tile_overlap": 0.2,
        "learning_rate": 1e-4,
    },
}
"""What `TrialConfig.from_mapping` takes where nothing is said, before the fields' own defaults."""

_DATASET_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "coco_mosaic": {"max_detections": 1000, "image_size": 4096, "patch_size": 512},
    "soda": {"max_detections": 1000, "image_size": 4096, "patch_size": 512},
    "tju": {"image_size": 4096, "patch_size": 512},
}
"""The same for single data sets; these come before those of the task."""

AUGMENTATIONS = ("flip", "rotate", "colour")

PLACEMENT_SETTINGS = ("device", "num_workers")
"""Settings that decide where a trial runs, not what it does: they may change when it goes on."""


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One trial. Fields are the YAML keys of a trial and the names behind `--set`.

    Raises:
        ConfigError: a field has a wrong value, or fields contradict each other.
    """

    task: Task = "classification"
    """What is predicted; decided by the data set."""

    dataset: Dataset = "panda"
    """`panda`: grades of slides; `drive`: retina vessels; `aerial`: land use seen from above;
    `image_masks`: any folder of images and folder of masks; `coco`: objects in COCO's layout;
    `coco_mosaic`: the same, 36 images on a canvas of 4096 px; `soda`: SODA-D, small objects seen
    while driving; `tju`: TJU-DHD's pedestrians in traffic."""

    data_dir: str | None = None
    """Folder of the data set in its published layout. None: small generated sample data, which is
    recorded as `data_is_sample`."""

    split_file: str | None = None
    """CSV with columns image_id and split (train, val or test). None: a stratified random split."""

    split_seed: int = 0
    """Seed of the random split; not `seed`, so that trials with other seeds see the same split."""

    val_fraction: float = 0.2
    """Share of the images that validate. The paper: 1,000 of 10,616."""

    test_fraction: float = 0.0
    """Share of the images kept out of both training and validation. The paper: 1,000 of 10,616."""

    skip_bad_images: bool = False
    """Go on without images that cannot be read; how many is recorded. False: they are an error."""

    sample_num_images: int = 48
    """Images of generated sample data (only without `data_dir`)."""

    sample_seed: int = 0
    """Seed of generated sample data (only without `data_dir`)."""

    foreground: str | None = None
    """Segmentation with more than two classes as a binary one: the class that counts, all others
    being background (`aerial`: e.g. `building`). None: all classes."""

    num_classes: int | None = None
    """Classes of `image_masks`, background included (None: 2), or categories of `coco` and
    `coco_mosaic` (None: COCO's 80), or of `tju` (None: 1). Other data sets have their own."""

    mosaic_seed: int = 0
    """Seed of which images share a mosaic of `coco_mosaic`."""

    augment: str = "none"
    """Random changes of training images, and of their masks: `none`, or some of `flip`, `rotate`
    and `colour` with commas between."""

    image_size: int = 512
    """Side in px of the square that each image is fitted into. The paper: 512, 2048, 4096."""

    method: MethodName = "local_global"
    """How an image is trained on. `local_global` is the paper's."""

    patch_size: int = 128
    """Side in px of a patch; of the global patch and of the downsampled image too.
    The paper: 128 and 256."""

    sampling_rate: float = 0.2
    """Share of the patches that get gradients in one inner iteration. The paper: 0.07 to 0.25."""

    inner_iterations: int = 4
    """Inner iterations per batch (J). The paper: 3, 4 and 11."""

    fusion: Fusion = "add"
    """How the global feature joins the latent block (`local_global` only). The paper: add for
    classification, concat for segmentation."""

    layout: Layout = "tile"
    """How Z of detection is laid out: `tile`, the maps of all patches side by side; `stack`, the
    paper's, over each other."""

    backbone: str = "resnet50"
    """Feature extractor (theta1). Classification: its timm name; detection too, with a feature
    pyramid on top. Segmentation: `unet` or `deeplabv3` (of segmentation-models-pytorch, around
    `encoder`), or `unet_plain` (the paper's, 64 to 1,024 channels)."""

    encoder: str = "resnet34"
    """Encoder of `unet` and `deeplabv3` by its name in segmentation-models-pytorch; `tu-<name>`
    is timm's."""

    latent_channels: int = 8
    """Channels of the latent block in segmentation (the paper: 8), and of the feature pyramid in
    detection (256, FCOS's)."""

    aggregator: str = "same"
    """Reader of the latent block (theta2). Classification: `same` (a CNN of the backbone's name,
    the paper's), another timm name, `small_cnn` (PatchGD's) or `attention` (gated attention
    pooling). Segmentation and detection: `conv1x1`, the paper's."""

    weights: str = "none"
    """Start of the backbone: `none` (random), `pretrained` (downloaded: timm's, or for
    segmentation that of the encoder) or the path of a safetensors file."""

    norm: Norm = "batch"
    """`batch`: as the backbone has it, with statistics over one image's sampled patches (over the
    batch for methods without patches); `frozen`: batch norm with fixed statistics; `group`: batch
    norm replaced by group norm."""

    max_detections: int = 100
    """Surest detections that are kept of an image, and that count in average precision. COCO: 100;
    mosaics hold more objects, so 1,000 there where nothing is said."""

    area_ranges: AreaRanges = "coco"
    """Sizes of objects whose average precision is measured apart: COCO's three or SODA-D's four."""

    tile_overlap: float = 0.0
    """Share of a patch that it has in common with the next one where `tiled` detects; more finds
    what patches cut. 0.2 where nothing is said in detection; segmentation has none."""

    drop_rate: float = 0.0
    """Dropout of features before classifiers (timm's `drop_rate`), in backbone and aggregator; in
    segmentation that of DeepLabV3's pyramid, and of no use to the U-Nets, which refuse it."""

    batch_size: int = 4
    """Images per batch. The paper: at most 4."""

    accumulation_steps: int = 1
    """Inner iterations per optimizer step. The paper: at most 3 for classification, 2 for
    segmentation."""

    epochs: int = 100
    """The paper: 100."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW. The paper: 1e-3, for segmentation 1e-4."""

    weight_decay: float = 0.01

    precision: Precision = "fp32"
    """`bf16`, `fp16`: the forward passes run under autocast; parameters stay in fp32. `fp16` scales
    the loss."""

    channels_last: bool | Literal["auto"] = "auto"
    """Memory layout of images and convolutions: channels together (faster on tensor cores and,
    for most networks, on CPUs). `auto`: on the CPU."""

    optimizer_kernel: OptimizerKernel = "auto"
    """How AdamW runs: `fused` (no temporaries), `foreach` (fast without it, holds temporaries of
    all parameters), `loop` (those of one). `auto`: `fused`, the least memory."""

    patch_microbatch: int | Microbatch = "none"
    """Patches pushed through the backbone at once; changes memory and time, never the gradient.
    `none`: all that get gradients; `auto`: as many as the budget holds. With `norm: batch` at least
    one image's (for methods without patches, which it then does not change, the batch)."""

    budget: int | None = None
    """Memory in bytes that the trial may hold on its device; in YAML also `4GB`, `512MiB`.
    None: no limit, peaks are still recorded."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:N` or `auto` (CUDA where there is one)."""

    num_workers: int = 0
    """Processes that read images ahead; 0 reads in the training process."""

    seed: int = 0
    """Of weights, sampling and order; two trials with equal configs and seeds are equal."""

    def __post_init__(self) -> None:
        for name, choices in _choices().items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(choices)}")
        self._check_microbatch()
        for name in (*_POSITIVE_INTEGERS, *_SEEDS):
            if getattr(self, name) > _MAX_INTEGER:
                raise ConfigError(f"{name}={getattr(self, name)} must be at most {_MAX_INTEGER}")
        if self.num_workers > _MAX_WORKERS:
            raise ConfigError(
                f"num_workers={self.num_workers} must be at most {_MAX_WORKERS}; a few are enough"
            )
        for name in _POSITIVE_INTEGERS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1; raise it")
        for name in ("num_workers", *_SEEDS):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name}={getattr(self, name)} must not be negative; use 0 or more"
                )
        self._check_numbers()
        self._check_geometry()
        self._check_task()

    def _check_microbatch(self) -> None:
        value = self.patch_microbatch
        known = (
            value in get_args(Microbatch) if isinstance(value, str) else 1 <= value <= _MAX_INTEGER
        )
        if not known:
            raise ConfigError(
                f"patch_microbatch={value!r} is not accepted; use auto, none or the number of "
                "patches at once, e.g. 8"
            )

    def _check_numbers(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise ConfigError(
                f"drop_rate={self.drop_rate} must be at least 0 and below 1; e.g. 0.2"
            )
        if not 0 <= self.tile_overlap <= _MAX_OVERLAP:
            raise ConfigError(
                f"tile_overlap={self.tile_overlap} must be 0 to {_MAX_OVERLAP}; e.g. 0.2"
            )
        if not 0 < self.sampling_rate <= 1:
            raise ConfigError(
                f"sampling_rate={self.sampling_rate} must be above 0 and at most 1; "
                "it is the share of patches that get gradients, e.g. 0.2"
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(
                f"learning_rate={self.learning_rate} must be positive and finite; e.g. 1e-3"
            )
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ConfigError(
                f"weight_decay={self.weight_decay} must be 0 or positive and finite; e.g. 0.01"
            )
        if not 0 < self.val_fraction < 1:
            raise ConfigError(
                f"val_fraction={self.val_fraction} must lie between 0 and 1; e.g. 0.2"
            )
        if not (self.test_fraction >= 0 and self.val_fraction + self.test_fraction < 1):
            raise ConfigError(
                f"test_fraction={self.test_fraction} with val_fraction={self.val_fraction} "
                "leaves nothing to train on; together they must stay below 1"
            )
        if self.budget is not None and self.budget < 1:
            raise ConfigError(f"budget={self.budget} must be positive; e.g. 8GB")

    def _check_geometry(self) -> None:
        if self.patch_size > self.image_size:
            raise ConfigError(
                f"patch_size={self.patch_size} is larger than image_size={self.image_size}; "
                f"use at most {self.image_size}"
            )
        if self.method in PATCH_METHODS and self.patch_size == self.image_size:
            raise ConfigError(
                f"patch_size={self.patch_size} is the whole image_size={self.image_size}, so there "
                f"is no grid for method={self.method}; use smaller patches, or method=full"
            )
        if self.method in PATCH_METHODS and self.image_size % self.patch_size:
            near = _divisors_near(self.image_size, self.patch_size)
            remedy = f"use one of {_join(near)}, or an image_size" if near else "use an image_size"
            raise ConfigError(
                f"patch_size={self.patch_size} does not divide image_size={self.image_size}; "
                f"{remedy} that is a multiple of {self.patch_size}"
            )

    def _check_task(self) -> None:
        task = TASK_OF[self.dataset]
        if self.task != task:
            raise ConfigError(
                f"task={self.task!r} does not go with dataset={self.dataset}; use task={task}"
            )
        if task == "classification" and self.method == "tiled":
            raise ConfigError(
                "method='tiled' needs a label for every patch, which classification has not; use "
                "method=patchgd or local_global"
            )
        if task != "classification" and self.method == "checkpointed":
            raise ConfigError(
                "method='checkpointed' is for classification; use full, or local_global for less "
                "memory"
            )
        if self.foreground is not None and self.dataset != "aerial":
            raise ConfigError(
                f"foreground={self.foreground!r}: dataset={self.dataset} has no named classes to "
                "choose from; leave it out"
            )
        if self.num_classes is not None:
            if self.dataset not in ("image_masks", "coco", "coco_mosaic", "tju"):
                raise ConfigError(
                    f"num_classes={self.num_classes}: dataset={self.dataset} has its own; leave it "
                    "out"
                )
            if task == "detection":
                if not 1 <= self.num_classes <= _MAX_CATEGORIES:
                    raise ConfigError(
                        f"num_classes={self.num_classes} must be 1 to {_MAX_CATEGORIES}"
                    )
            elif not 2 <= self.num_classes <= _MAX_CLASSES:
                raise ConfigError(
                    f"num_classes={self.num_classes} must be 2 (background and one class) to "
                    f"{_MAX_CLASSES}; count the values that a pixel of a mask can have"
                )
        unknown = [name for name in self.augmentations if name not in AUGMENTATIONS]
        if unknown:
            raise ConfigError(
                f"augment={self.augment!r} names {unknown[0]!r}; use none, or some of "
                f"{', '.join(AUGMENTATIONS)} with commas between"
            )
        if task == "detection":
            self._check_detection()
        elif self.tile_overlap:
            raise ConfigError(
                f"tile_overlap={self.tile_overlap}: only detection has overlapping patches; use 0"
            )

    def _check_detection(self) -> None:
        if self.max_detections > _MOST_DETECTIONS:
            raise ConfigError(
                f"max_detections={self.max_detections} must be at most {_MOST_DETECTIONS}: so many "
                "are held for every image; COCO keeps 100, e.g. 1000 for mosaics"
            )
        if "rotate" in self.augmentations:
            raise ConfigError(
                f"augment={self.augment!r}: rotated boxes are no boxes any more; use flip, colour "
                "or both"
            )
        name = "image_size" if self.method == "full" else "patch_size"
        side = getattr(self, name)
        if side % _COARSEST_STRIDE:
            raise ConfigError(
                f"{name}={side} must be a multiple of {_COARSEST_STRIDE} in detection with "
                f"method={self.method}: so coarse are the maps of the backbone; use "
                f"{max(1, round(side / _COARSEST_STRIDE)) * _COARSEST_STRIDE}"
            )

    @property
    def augmentations(self) -> tuple[str, ...]:
        """Names of the random changes of training images."""
        if self.augment == "none":
            return ()
        return tuple(name.strip() for name in self.augment.split(","))

    @property
    def grid_size(self) -> int:
        """Patches along one side of the image (m = n)."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches of an image (mn)."""
        return self.grid_size**2

    @property
    def num_sampled(self) -> int:
        """Patches per image that get gradients in one inner iteration (k)."""
        # the tolerance undoes rounding: 0.29 * 100 is 28.999999999999996
        return max(1, math.floor(self.sampling_rate * self.num_patches + 1e-9))

    @property
    def inputs_per_image(self) -> int:
        """Inputs of the backbone per image and inner iteration: sampled patches and global one."""
        if self.method not in PATCH_METHODS:
            return 1
        return self.num_sampled + (self.method == "local_global")

    @property
    def inputs_per_group(self) -> int:
        """Inputs of the backbone over which batch norm takes its statistics in a whole batch."""
        return self.inputs_per_image if self.method in PATCH_METHODS else self.batch_size

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Return the configuration that `values` (YAML keys) describe, defaults for the rest.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or a broken rule.
        """
        from pydantic import ValidationError

        values = dict(values)
        names = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
                raise ConfigError(f"{key}={values[key]!r} is no setting of a trial; {hint}")
        if values.get("budget") is not None:
            values["budget"] = parse_budget(values["budget"])
        for name in ("weights", "patch_microbatch"):
            if name in values and values[name] is None:
                values[name] = "none"
        dataset = str(values.get("dataset", "panda")).replace("-", "_")
        values["dataset"] = dataset if dataset in TASK_OF else values.get("dataset", "panda")
        task = TASK_OF.get(dataset, "classification")
        values = {
            "task": task,
            **_TASK_DEFAULTS[task],
            **_DATASET_DEFAULTS.get(dataset, {}),
            **values,
        }
        for key, value in values.items():
            if isinstance(value, bool) and "bool" not in str(cls.__dataclass_fields__[key].type):
                raise ConfigError(f"{key}={value!r} is a truth value; give {_wanted(key)}")
        try:
            return _adapter().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if name in _choices():
                wanted = f"use one of {', '.join(_choices()[name])}"
            elif name == "patch_microbatch":
                wanted = "use auto, none or the number of patches at once, e.g. 8"
            elif name == "augment":
                wanted = (
                    f"use none, or some of {', '.join(AUGMENTATIONS)} with commas between, as text"
                )
            elif name == "channels_last":
                wanted = "use auto, true or false"
            else:
                wanted = f"give {_wanted(name)}"
            raise ConfigError(f"{name}={first['input']!r} is not accepted; {wanted}") from None

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> TrialConfig:
        """Return the configuration in the YAML file `path`, with `key=value` overrides on top.

        Raises:
            ConfigError: no such file, not YAML, or see `from_mapping`.
        """
        try:
            values = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); give a YAML file"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(
                f"{path}: is not YAML ({line}); write one `key: value` a line"
            ) from None
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: holds no `key: value` lines; write one a line")
        return cls.from_mapping(values | parse_overrides(overrides))

    def with_absolute_paths(self) -> TrialConfig:
        """Return the configuration with paths that mean the same in every folder."""
        paths: dict[str, Any] = {}
        for name in ("data_dir", "split_file", "weights"):
            value = getattr(self, name)
            if value is not None and not (name == "weights" and value in ("none", "pretrained")):
                paths[name] = str(Path(value).expanduser().absolute())
        return dataclasses.replace(self, **paths)

    def check_resumes(self, saved: TrialConfig, folder: Path) -> None:
        """Refuse to go on with a trial of the configuration `saved`, found in `folder`.

        Raises:
            ConfigError: they differ in more than where the trial runs; names the first difference.
        """
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(saved, field.name)
            if field.name not in PLACEMENT_SETTINGS and mine != theirs:
                raise ConfigError(
                    f"{field.name}={mine!r} differs from {theirs!r} of the trial in {folder}; "
                    "resume with the same configuration, or give another --out"
                )

    def dump(self, path: Path) -> None:
        """Write the configuration as YAML that `load` reads back."""
        path.write_text(yaml.safe_dump(dataclasses.asdict(self), sort_keys=False))


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of `key=value` strings, each value read as YAML.

    Raises:
        ConfigError: a string without `=`, or a value that is not YAML.
    """
    values = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override!r} has no value; write --set key=value")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override!r}: the value is not YAML; quote it") from None
    return values


_MAX_INTEGER = 2**31 - 1
_MAX_WORKERS = 256
_MAX_CLASSES = 255
_COARSEST_STRIDE = 32
"""Of a backbone's maps, in px."""

_MAX_CATEGORIES = 10_000
_MOST_DETECTIONS = 100_000
_MAX_OVERLAP = 0.75

_SEEDS = ("seed", "split_seed", "sample_seed", "mosaic_seed")

_POSITIVE_INTEGERS = (
    "image_size",
    "patch_size",
    "inner_iterations",
    "batch_size",
    "accumulation_steps",
    "epochs",
    "sample_num_images",
    "latent_channels",
    "max_detections",
)


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(TrialConfig)


@cache
def _choices() -> dict[str, tuple[str, ...]]:
    """Field name -> allowed values, for the fields that have a closed list."""
    return {
        "task": get_args(Task),
        "dataset": get_args(Dataset),
        "method": get_args(MethodName),
        "fusion": get_args(Fusion),
        "layout": get_args(Layout),
        "area_ranges": get_args(AreaRanges),
        "norm": get_args(Norm),
        "precision": get_args(Precision),
        "optimizer_kernel": get_args(OptimizerKernel),
    }


def _wanted(name: str) -> str:
    type_name = str(TrialConfig.__dataclass_fields__[name].type).removesuffix(" | None")
    return {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        type_name, "text"
    )


def _divisors_near(image_size: int, patch_size: int) -> list[int]:
    """The up to four divisors of `image_size` nearest to `patch_size`, from 16 px up."""
    divisors = [d for d in range(16, image_size // 2 + 1) if image_size % d == 0]
    return sorted(sorted(divisors, key=lambda d: abs(math.log(d / patch_size)))[:4])


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
