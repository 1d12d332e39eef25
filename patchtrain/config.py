"""`TrialConfig`: everything that decides how one trial runs, checked before any work starts.

A setting's bounds are declared with its field; the rules of methods, tasks and data sets are in the
catalog. Knows nothing of models or files; names of backbones are checked where models are built.
Longer than 400 lines because each setting is documented under its field.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from patchtrain import catalog
from patchtrain.catalog import DatasetFacts, MethodFacts, Range, Role, Search
from patchtrain.errors import ConfigError
from patchtrain.extension import own_code
from patchtrain.settings import (
    MAX_INTEGER,
    check_value,
    converted,
    facts_of,
    finite,
    is_text,
    must,
    setting,
    whole,
)
from patchtrain.units import parse_budget
from patchtrain.yaml_text import read_mapping, read_value

Fusion = Literal["add", "concat"]
GlobalPass = Literal["joint", "filled"]
Layout = Literal["tile", "stack"]
AreaRanges = Literal["coco", "soda"]
Norm = Literal["batch", "frozen", "group"]
Precision = Literal["fp32", "bf16", "fp16", "tf32"]
OptimizerKernel = Literal["auto", "fused", "foreach", "loop"]

AUGMENTATIONS = ("flip", "rotate", "colour")

_MICROBATCH = "use auto, none or the number of patches at once, e.g. 8"
_SCALE = "use none, or the number that the scale starts from, e.g. 0"
_VALUES = "use auto, or the numbers that become black and white, 0 to 65535, e.g. 0:4095"
_AUGMENT = f"use none, or some of {', '.join(AUGMENTATIONS)} separated by commas"

_NO_MEMORY: dict[str, Any] = {"affects_memory": False}


def _or_none(value: Any) -> Any:
    """Return the text `none` for YAML's null."""
    return "none" if value is None else _as_text(value)


def _as_text(path: Any) -> Any:
    """Return the text of a path, and anything else as it is."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _with_underscores(dataset: Any) -> Any:
    """Return the name of one of our data sets that was written with hyphens."""
    name = str(dataset).replace("-", "_")
    return name if name in catalog.DATASETS else dataset


def _check_microbatch(name: str, value: int | str) -> None:
    if not (value in ("auto", "none") if isinstance(value, str) else 1 <= value <= MAX_INTEGER):
        raise ConfigError(f"{name}={value!r} is not accepted; {_MICROBATCH}")


def _check_scale(name: str, value: float | str) -> None:
    if not (value == "none" if isinstance(value, str) else math.isfinite(value)):
        raise ConfigError(f"{name}={value!r} is not accepted; {_SCALE}")


def _check_value_range(name: str, value: str) -> None:
    if value != "auto" and _two_numbers(value) is None:
        raise ConfigError(f"{name}={value!r} is not accepted; {_VALUES}")


def _two_numbers(text: str) -> tuple[int, int] | None:
    """Return the numbers of `LOW:HIGH`; None if `text` is not of this form."""
    low, _, high = text.partition(":")
    if not (low.strip().isdecimal() and high.strip().isdecimal()):
        return None
    return (int(low), int(high)) if int(low) < int(high) < 2**16 else None


def _check_head(name: str, value: str) -> None:
    catalog.check_listed(name, value)


def _check_augmentations(name: str, value: str) -> None:
    unknown = [each for each in _listed(value) if each not in AUGMENTATIONS]
    if unknown:
        raise ConfigError(f"{name}={value!r} names {unknown[0]!r}; {_AUGMENT}")


def _listed(augment: str) -> tuple[str, ...]:
    return () if augment == "none" else tuple(name.strip() for name in augment.split(","))


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One trial. Fields are the YAML keys of a trial and the names behind `--set`.

    Raises:
        ConfigError: a field has a wrong value, or fields contradict each other.
    """

    task: str = setting("classification")
    """What is predicted; the data set decides it."""

    dataset: str = setting(
        "panda",
        parse=_with_underscores,
        wanted=f"use one of {', '.join(catalog.DATASETS)}",
    )
    """`panda`: grades of slides; `ultramnist`: sums of digits of very different sizes; `drive`:
    retina vessels; `aerial`: land use seen from above; `image_masks`: any folder of images and
    folder of masks; `coco`: objects in COCO's layout; `coco_mosaic`: the same, 36 images on a
    canvas of 4096 px; `soda`: SODA-D, small objects seen while driving; `tju`: TJU-DHD's
    pedestrians in traffic."""

    data_dir: str | None = setting(None, parse=_as_text, **_NO_MEMORY)
    """Folder of the data set in its published layout. None: small generated sample data, which is
    recorded as `data_is_sample`."""

    split_file: str | None = setting(None, parse=_as_text, **_NO_MEMORY)
    """CSV with columns image_id and split (train, val or test). None: a stratified random split."""

    split_seed: int = setting(0, whole(0), **_NO_MEMORY)
    """Seed of the random split; not `seed`, so that trials with other seeds see the same split."""

    val_fraction: float = setting(
        0.2, must("lie between 0 and 1", lambda value: 0 < value < 1, "e.g. 0.2"), **_NO_MEMORY
    )
    """Share of the images used for validation. The paper: 1,000 of 10,616."""

    test_fraction: float = setting(0.0, **_NO_MEMORY)
    """Share of the images kept out of both training and validation. The paper: 1,000 of 10,616."""

    skip_bad_images: bool = setting(False, **_NO_MEMORY)
    """Skip images that cannot be read and record how many. False: they are an error."""

    drop_duplicates: bool = setting(False, **_NO_MEMORY)
    """Of images with the same pixels, keep one. False: a warning lists them."""

    value_range: str = setting("auto", _check_value_range, wanted=_VALUES, **_NO_MEMORY)
    """What becomes black and white in images of more than 8 bits, in their own numbers: `LOW:HIGH`,
    e.g. `0:4095` for 12 bits stored in 16. `auto`: 0, and what the file declares as its largest
    value (TIFF's MaxSampleValue) or its bits can hold."""

    sample_num_images: int = setting(48, whole(), **_NO_MEMORY)
    """Images of generated sample data (only without `data_dir`)."""

    sample_seed: int = setting(0, whole(0), **_NO_MEMORY)
    """Seed of generated sample data (only without `data_dir`)."""

    foreground: str | None = setting(None, **_NO_MEMORY)
    """The one class to segment (`aerial`: e.g. `building`); all others become background. None: all
    classes."""

    num_classes: int | None = setting(None, **_NO_MEMORY)
    """Classes of `image_masks`, background included (None: 2), or categories of `coco` and
    `coco_mosaic` (None: COCO's 80), or of `tju` (None: 1), or sums of `ultramnist` (None: 28).
    Other data sets have a fixed number."""

    mosaic_seed: int = setting(0, whole(0), **_NO_MEMORY)
    """Seed that decides which images share a mosaic of `coco_mosaic`."""

    augment: str = setting(
        "none", _check_augmentations, wanted=f"{_AUGMENT}, as text", **_NO_MEMORY
    )
    """Random changes of training images and their masks: `none`, or some of `flip`, `rotate` and
    `colour`, separated by commas."""

    image_size: int = setting(512, whole())
    """Side in px of the square that each image is fitted into. The paper: 512, 2048, 4096."""

    method: str = setting(
        "local_global",
        wanted=f"use one of {', '.join(catalog.METHODS)}",
        search=Search(role=Role.SCIENTIFIC, values=("local_global", "patchgd", "downsampled")),
    )
    """How an image is trained on. `local_global` is the paper's."""

    patch_size: int = setting(128, whole(), search=Search(role=Role.SCIENTIFIC, always=True))
    """Side in px of a patch, and also of the global patch and the downsampled image.
    The paper: 128 and 256."""

    sampling_rate: float = setting(
        0.2,
        must(
            "be above 0 and at most 1",
            lambda value: 0 < value <= 1,
            "it is the share of patches that get gradients, e.g. 0.2",
        ),
        search=Search(role=Role.SCIENTIFIC, values=Range(low=0.05, high=0.5), always=True),
    )
    """Share of the patches that get gradients in one inner iteration. The paper: 0.07 to 0.25."""

    inner_iterations: int = setting(
        4,
        whole(),
        search=Search(role=Role.NUISANCE, values=Range(low=1, high=12), always=True),
    )
    """Inner iterations per batch (J). The paper: 3, 4 and 11."""

    fusion: Fusion = setting(
        "concat", search=Search(role=Role.SCIENTIFIC, values=("add", "concat"), always=True)
    )
    """How the global feature joins the latent block (`local_global` only). The paper: add for
    classification, concat for segmentation and detection; `concat` learned better in all of
    them."""

    fusion_scale: float | Literal["none"] = setting(
        "none",
        _check_scale,
        parse=_or_none,
        wanted=_SCALE,
        search=Search(role=Role.SCIENTIFIC, values=("none", 0.0)),
    )
    """A number: the global feature is multiplied by one number per channel, which is learned and
    starts as this, so that training can turn the global patch down (`local_global` only). `none`:
    as in the paper."""

    global_pass: GlobalPass = setting(
        "filled",
        search=Search(role=Role.SCIENTIFIC, values=("filled", "joint")),
        earlier="joint",
    )
    """When the global patch runs (`local_global` only): `filled`, once per batch with the fill of
    Z, without gradient, which takes less memory and time and learned better in classification and
    segmentation; `joint`, in each inner iteration with the sampled patches and with gradient, as
    the paper's text has it; the default in detection, where `filled` is not measured yet."""

    layout: Layout = setting("tile")
    """How Z is laid out in detection: `tile`, the maps of all patches side by side; `stack`, the
    paper's, on top of each other as channels."""

    head: str = setting("fcos", _check_head)
    """Head that finds objects in detection, of the heads in the catalog: `fcos`, the paper's, or
    `package.module:Name` of your own."""

    backbone: str = setting("resnet50", search=Search(role=Role.SCIENTIFIC))
    """Feature extractor (theta1). Classification: its timm name; detection too, with a feature
    pyramid on top. Segmentation: `unet` or `deeplabv3` (of segmentation-models-pytorch, around
    `encoder`), or `unet_plain` (the paper's, 64 to 1,024 channels)."""

    encoder: str = setting("resnet34", search=Search(role=Role.SCIENTIFIC))
    """Encoder of `unet` and `deeplabv3` by its name in segmentation-models-pytorch; `tu-<name>`
    is timm's."""

    latent_channels: int = setting(8, whole())
    """Channels of the latent block in segmentation (the paper: 8), and of the feature pyramid in
    detection (256, FCOS's)."""

    aggregator: str = setting("same")
    """Reader of the latent block (theta2). Classification: `same` (a CNN of the backbone's name,
    the paper's), another timm name, `small_cnn` (PatchGD's) or `attention` (gated attention
    pooling). Segmentation and detection: `conv1x1`, the paper's."""

    weights: str = setting("none", parse=_or_none, **_NO_MEMORY)
    """What the backbone starts from: `none` (random), `pretrained` (downloaded: timm's, in
    segmentation the encoder's) or the path of a safetensors file."""

    norm: Norm = setting("batch")
    """`batch`: as the backbone has it, with statistics over one image's sampled patches (over the
    batch for methods without patches); `frozen`: batch norm with fixed statistics; `group`: batch
    norm replaced by group norm."""

    max_detections: int = setting(
        100,
        whole(
            most=100_000,
            why_most="this many are kept for every image; use e.g. 100 (COCO) or 1000 (mosaics)",
        ),
        **_NO_MEMORY,
    )
    """How many detections are kept per image, the surest first; average precision counts no others.
    COCO: 100. Mosaics hold more objects, so their default is 1,000."""

    area_ranges: AreaRanges = setting("coco", **_NO_MEMORY)
    """Sizes of objects for which average precision is also given: COCO's three or SODA-D's four."""

    tile_overlap: float = setting(
        0.0, must("be 0 to 0.75", lambda value: 0 <= value <= 0.75, "e.g. 0.2")
    )
    """Share of a patch that overlaps the next one when `tiled` detects objects; more overlap finds
    more of the objects that patches cut. Default in detection: 0.2; segmentation has none."""

    drop_rate: float = setting(
        0.0, must("be at least 0 and below 1", lambda value: 0 <= value < 1, "e.g. 0.2")
    )
    """Dropout of features before classifiers (timm's `drop_rate`), in backbone and aggregator; in
    segmentation in DeepLabV3's pyramid. The U-Nets have no dropout and refuse it."""

    batch_size: int = setting(4, whole())
    """Images per batch. The paper: at most 4."""

    accumulation_steps: int = setting(1, whole())
    """Inner iterations per optimizer step. The paper: at most 3 for classification, 2 for
    segmentation."""

    epochs: int = setting(100, whole(), **_NO_MEMORY)
    """The paper: 100."""

    learning_rate: float = setting(
        1e-3,
        finite("positive", 0, "1e-3", above=True),
        search=Search(role=Role.NUISANCE, values=Range(low=1e-4, high=1e-2)),
        **_NO_MEMORY,
    )
    """Peak learning rate of AdamW. The paper: 1e-3, for segmentation 1e-4."""

    weight_decay: float = setting(0.01, finite("0 or positive", 0, "0.01"), **_NO_MEMORY)

    precision: Precision = setting(
        "fp32", search=Search(role=Role.SCIENTIFIC, values=("fp32", "bf16"))
    )
    """`bf16`, `fp16`: the forward passes run under autocast; parameters stay in fp32. `fp16` scales
    the loss. `tf32`, on GPUs only: convolutions and matrix products of fp32 numbers in TF32, faster
    and with 10 bits of mantissa; `fp32` keeps all 23 there, too."""

    channels_last: bool | Literal["auto"] = setting("auto", wanted="use auto, true or false")
    """Memory layout of images and convolutions: channels together (faster on tensor cores and,
    for most networks, on CPUs). `auto`: on the CPU."""

    optimizer_kernel: OptimizerKernel = setting("auto")
    """How AdamW runs: `fused` (no temporaries), `foreach` (fast too, but holds temporaries for all
    parameters), `loop` (holds them for one). `auto`: `fused`, which takes the least memory."""

    patch_microbatch: int | Literal["auto", "none"] = setting(
        "none",
        _check_microbatch,
        parse=_or_none,
        wanted=_MICROBATCH,
        search=Search(role=Role.NUISANCE, values=("none", "auto")),
    )
    """Patches pushed through the backbone at once; changes memory and time, never the gradient.
    `none`: all that get gradients; `auto`: as many as fit the budget. With `norm: batch` at least
    all of one image; for methods without patches the whole batch, so it then changes nothing."""

    budget: int | None = setting(
        None,
        must("be positive", lambda value: value > 0, "e.g. 8GB"),
        parse=lambda value: None if value is None else parse_budget(value),
        **_NO_MEMORY,
    )
    """Memory in bytes that the trial may hold on its device; in YAML also `4GB`, `512MiB`.
    None: no limit, peaks are still recorded."""

    device: str = setting("auto", is_placement=True, **_NO_MEMORY)
    """`cpu`, `cuda`, `cuda:N` or `auto` (CUDA if there is a device)."""

    num_workers: int = setting(
        0, whole(0, 256, "a few are enough"), is_placement=True, **_NO_MEMORY
    )
    """Processes that read images ahead; 0 reads in the training process."""

    seed: int = setting(0, whole(0), **_NO_MEMORY)
    """Seed of weights, sampling and order; trials with the same config and seed are the same."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            checked = checked_setting(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, checked)  # as of its type, though frozen
        self._check_split()
        self._check_facts()
        self._check_task()
        self._check_geometry()
        catalog.task(self.task).check(self)
        with own_code("method", self.method):
            self.method_facts.check(self)
        with own_code("dataset", self.dataset):
            self.dataset_facts.check(self)

    def _check_facts(self) -> None:
        """Refuse settings that do not exist in the facts of the user's own parts."""
        for field, facts in (("method", self.method_facts), ("dataset", self.dataset_facts)):
            name = getattr(self, field)
            if not catalog.is_own(name):
                continue
            unknown = [each for each in facts.reads if each not in self.__dataclass_fields__]
            if unknown:
                raise ConfigError(
                    f"{field}={name!r}: its facts say that it reads {unknown[0]!r}, which is no "
                    "setting of a trial; correct `reads`"
                )

    def _check_split(self) -> None:
        if not (self.test_fraction >= 0 and self.val_fraction + self.test_fraction < 1):
            raise ConfigError(
                f"test_fraction={self.test_fraction} with val_fraction={self.val_fraction} "
                "leaves nothing to train on; together they must stay below 1"
            )

    def _check_task(self) -> None:
        task = self.dataset_facts.task
        if self.task != task:
            raise ConfigError(
                f"task={self.task!r} does not go with dataset={self.dataset}; use task={task}"
            )
        if task in self.method_facts.refuses:
            raise ConfigError(f"method={self.method!r} {self.method_facts.refuses[task]}")
        for name, reason in _DATASET_SETTINGS.items():
            value = getattr(self, name)
            if value is not None and name not in self.dataset_facts.reads:
                raise ConfigError(
                    f"{name}={value!r}: dataset={self.dataset} {reason}; leave it out"
                )
        if self.tile_overlap and "tile_overlap" not in catalog.task(task).reads:
            raise ConfigError(
                f"tile_overlap={self.tile_overlap}: only detection has overlapping patches; use 0"
            )

    def _check_geometry(self) -> None:
        if self.patch_size > self.image_size:
            raise ConfigError(
                f"patch_size={self.patch_size} is larger than image_size={self.image_size}; "
                f"use at most {self.image_size}"
            )
        if not self.samples_patches:
            return
        if self.patch_size == self.image_size:
            raise ConfigError(
                f"patch_size={self.patch_size} is the whole image_size={self.image_size}, so there "
                f"is no grid for method={self.method}; use smaller patches, or method=full"
            )
        if self.image_size % self.patch_size:
            near = _divisors_near(self.image_size, self.patch_size)
            remedy = (
                f"use one of {', '.join(map(str, near))}, or an image_size"
                if near
                else "use an image_size"
            )
            raise ConfigError(
                f"patch_size={self.patch_size} does not divide image_size={self.image_size}; "
                f"{remedy} that is a multiple of {self.patch_size}"
            )

    @property
    def method_facts(self) -> MethodFacts:
        """What the catalog says about the method."""
        return catalog.method(self.method)

    @property
    def dataset_facts(self) -> DatasetFacts:
        """What the catalog says about the data set."""
        return catalog.dataset(self.dataset)

    @property
    def is_16_bits(self) -> bool:
        """Whether the forward passes run under autocast."""
        return self.precision in ("bf16", "fp16")

    @property
    def samples_patches(self) -> bool:
        """Whether the method cuts the image into a grid and learns from sampled patches."""
        return self.method_facts.samples_patches

    @property
    def input_side_px(self) -> int:
        """Side in px of the backbone's inputs: patches, or whole images."""
        return int(getattr(self, self.method_facts.input_side))

    @property
    def values_of_images(self) -> tuple[int, int] | None:
        """What becomes black and white in images of more than 8 bits; None: `auto`."""
        return _two_numbers(self.value_range)

    @property
    def augmentations(self) -> tuple[str, ...]:
        """Names of the random changes of training images."""
        return _listed(self.augment)

    @property
    def grid_size(self) -> int:
        """Patches along one side of the image (m = n)."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches per image (mn)."""
        return self.grid_size**2

    @property
    def num_sampled(self) -> int:
        """Patches per image that get gradients in one inner iteration (k)."""
        # the tolerance undoes rounding: 0.29 * 100 is 28.999999999999996
        return max(1, math.floor(self.sampling_rate * self.num_patches + 1e-9))

    @property
    def trains_on_global(self) -> bool:
        """Whether the global patch runs in each inner iteration, with gradient."""
        facts = self.method_facts
        if not (facts.has_global and facts.global_is_input):
            return False
        return self.global_pass == "joint" or "global_pass" not in facts.reads

    @property
    def inputs_per_image(self) -> int:
        """Inputs of the backbone per image and inner iteration: sampled patches and global one."""
        return self.num_sampled + self.trains_on_global if self.samples_patches else 1

    @property
    def inputs_per_group(self) -> int:
        """Inputs of the backbone over which batch norm takes its statistics in a whole batch."""
        return self.inputs_per_image if self.samples_patches else self.batch_size

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Return the configuration that `values` (YAML keys) describe, with defaults for the rest.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or a broken rule.
        """
        return cls(**settings_of(values))

    @classmethod
    def load(
        cls,
        path: str | Path,
        overrides: Sequence[str] = (),
        changes: Mapping[str, Any] | None = None,
        *,
        dumped: bool = False,
    ) -> TrialConfig:
        """Return the configuration in the YAML file `path`, with `key=value` overrides and then
        `changes` on top.

        Args:
            dumped: whether `dump` wrote it, so that a setting which it lacks did not exist then.

        Raises:
            ConfigError: no such file, not YAML, or see `from_mapping`.
        """
        try:
            values = read_mapping(Path(path).read_text(encoding="utf-8"), is_text_setting)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); give a YAML file"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {_what_is_wrong(error)}") from None
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: holds no `key: value` lines; write one per line")
        if dumped:
            values = {**earlier_settings(), **values}
        return cls.from_mapping({**values, **parse_overrides(overrides), **(changes or {})})

    def __deepcopy__(self, memo: dict[int, Any]) -> TrialConfig:
        return self  # it cannot change, and a sweep would hold three copies for each trial

    def with_absolute_paths(self) -> TrialConfig:
        """Return the configuration with absolute paths, which mean the same in every folder."""
        paths: dict[str, Any] = {}
        for name in ("data_dir", "split_file", "weights"):
            value = getattr(self, name)
            if value is not None and not (name == "weights" and value in ("none", "pretrained")):
                paths[name] = str(Path(value).expanduser().absolute())
        return dataclasses.replace(self, **paths)

    def check_resumes(self, saved: TrialConfig, folder: Path) -> None:
        """Refuse to resume the trial in `folder`, whose configuration is `saved`, if it differs.

        Raises:
            ConfigError: they differ in more than where the trial runs; names the first difference.
        """
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(saved, field.name)
            if field.name in DATA_PLACES and None not in (mine, theirs):
                continue  # what lies there is compared instead
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
        if not text.strip():
            raise ConfigError(
                f"--set {override!r} is empty; give a value, or leave it out for the default"
            )
        try:
            values[key.strip()] = read_value(text, is_text=is_text_setting(key.strip()))
        except (yaml.YAMLError, ValueError):
            raise ConfigError(f"--set {override!r}: the value is not YAML; quote it") from None
    return values


def is_text_setting(name: Any) -> bool:
    """Return whether the values of a setting are text, whatever they look like."""
    return name in TrialConfig.__dataclass_fields__ and is_text(TrialConfig, name)


def _what_is_wrong(error: Exception) -> str:
    """Return what is wrong with YAML, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and ";" in (error.problem or ""):
        line = "" if error.problem_mark is None else f" (line {error.problem_mark.line + 1})"
        what, _, remedy = str(error.problem).partition(";")
        return f"{what}{line};{remedy}"
    line = " ".join(str(error).split())
    return f"is not YAML ({line}); write one `key: value` per line"


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that `values` (YAML keys) give, with the defaults of their data set and
    its task; types and bounds are checked, rules between settings are not.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or out of bounds.
    """
    names = [field.name for field in dataclasses.fields(TrialConfig)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
            raise ConfigError(f"{key}={values[key]!r} is not a setting of a trial; {hint}")
    dataset = checked_setting("dataset", values.get("dataset", TrialConfig.dataset))
    facts = catalog.dataset(dataset)
    defaults = {
        "task": facts.task,
        **catalog.task(facts.task).defaults,
        **facts.defaults,
    }
    for key in defaults:
        if key not in names:
            raise ConfigError(
                f"dataset={dataset!r}: its facts give a default for {key!r}, which is no setting "
                "of a trial; correct `defaults`"
            )
    given = {**defaults, **values, "dataset": dataset}
    return {name: checked_setting(name, value) for name, value in given.items()}


def checked_setting(name: str, value: Any) -> Any:
    """Return the setting `name` as `TrialConfig` has it, from what a person wrote.

    Raises:
        ConfigError: it is of the wrong type or out of bounds.
    """
    checked = converted(TrialConfig, name, value)
    check_value(TrialConfig, name, checked)
    return checked


def earlier_settings() -> dict[str, Any]:
    """Return the values of newer settings in trials of the time before these existed, where they
    may differ from today's defaults.
    """
    names = (field.name for field in dataclasses.fields(TrialConfig))
    values = {name: facts_of(TrialConfig, name).earlier for name in names}
    return {name: value for name, value in values.items() if value is not None}


def memory_settings() -> tuple[str, ...]:
    """Return the settings that can change what a training step allocates."""
    names = (field.name for field in dataclasses.fields(TrialConfig))
    return tuple(name for name in names if facts_of(TrialConfig, name).affects_memory)


def searched_settings() -> dict[str, Search]:
    """Return the settings that a sweep can vary, and how."""
    found = {
        field.name: facts_of(TrialConfig, field.name).search
        for field in dataclasses.fields(TrialConfig)
    }
    return {name: search for name, search in found.items() if search is not None}


_DATASET_SETTINGS: Mapping[str, str] = {
    "foreground": "has no named classes to choose from",
    "num_classes": "has a fixed number of classes",
}
"""Setting that is refused if the data set does not read it -> why."""


def _divisors_near(image_size: int, patch_size: int) -> list[int]:
    """Return up to four divisors of `image_size`, those nearest to `patch_size`, from 16 px up."""
    divisors = [d for d in range(16, image_size // 2 + 1) if image_size % d == 0]
    return sorted(sorted(divisors, key=lambda d: abs(math.log(d / patch_size)))[:4])


DATA_PLACES = ("data_dir", "split_file")
"""Settings that say where the data lies: the same data may lie elsewhere."""

PLACEMENT_SETTINGS = tuple(
    field.name
    for field in dataclasses.fields(TrialConfig)
    if facts_of(TrialConfig, field.name).is_placement
)
"""Settings that say where a trial runs, not what it does: they may change when it is resumed."""
