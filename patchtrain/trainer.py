"""`Trainer`: the loop of one trial, an epoch at a time. No argument parsing, no printing.

Knows nothing of who calls it: the command line, a sweep or a test.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import patchtrain
from patchtrain.batch import HostBatch
from patchtrain.checkpoint import load_optimizer, load_state, load_weights, save_checkpoint
from patchtrain.config import TrialConfig
from patchtrain.datasets import Example, ImageData, ImageDataset, load_dataset
from patchtrain.datasets.loading.augment import Augmentation
from patchtrain.device import resolve_device
from patchtrain.engine import Engine
from patchtrain.errors import BudgetExceeded, ConfigError
from patchtrain.memory.budget import MemoryGuard, Peak, guard_for
from patchtrain.memory.estimate import Estimate, check_fits, estimate
from patchtrain.memory.meter import TimelinePoint
from patchtrain.microbatch import chunk_size
from patchtrain.models import check_network, mixes_inputs
from patchtrain.models.network import aggregator_name, layout_name, own_encoder
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus
from patchtrain.tasks import build_task

_RECORDED_BATCHES = 2
"""The optimizer's state appears with the first step, so the second batch shows the steady state."""


@dataclass(frozen=True)
class Progress:
    """How far an epoch is, after each batch."""

    validating: bool
    batches_done: int
    num_batches: int
    loss: float | None
    """Mean of the epoch so far; None while validating."""
    images_per_s: float
    live_bytes: int
    peak_bytes: int


OnBatch = Callable[[Progress], None]

OnOutputs = Callable[[Sequence[Example], HostBatch, np.ndarray, Sequence[Any]], None]
"""Takes some examples, their images, their outputs (see `Engine.predict`) and what the task's
metrics need of each (see `Task.score`)."""


def check(config: TrialConfig) -> None:
    """Find out what can be found out without data and without taking memory.

    Raises:
        ConfigError: a name that is not known, a device that is not there, networks that cannot
            take such patches.
    """
    resolve_device(config.device)
    check_network(config)


def estimate_trial(config: TrialConfig, num_train: int, num_val: int) -> Estimate:
    """Return what the trial of `config` will hold on so many training and validation images.

    Raises:
        ConfigError: its networks cannot be built or trained.
    """
    num_validated = min(config.batch_size, num_val) or None
    return estimate(_as_run(config, num_train), num_validated)


class Trainer:
    """One trial: call `run_epoch` until `finished`, then `record`.

    Args:
        trial_id: names the trial in its records.
        sweep: the sweep it belongs to, if any.
        data: the images; None loads what `config` names.

    Raises:
        ConfigError: see `check`.
        DataError: the data set is missing, damaged or inconsistent.
    """

    def __init__(
        self,
        config: TrialConfig,
        *,
        trial_id: str = "single",
        sweep: str | None = None,
        data: ImageData | None = None,
    ) -> None:
        check(config)
        self.config = config
        self.trial_id = trial_id
        self.sweep = sweep
        self.device = resolve_device(config.device)
        self.data = load_dataset(config) if data is None else data
        last_batch = len(self.data.train) % config.batch_size
        if last_batch:
            _check_last_batch(config, last_batch, len(self.data.train))
        self.epochs_done = 0
        self.peak: Peak | None = None
        self.timeline: Sequence[TimelinePoint] = ()
        self._guard: MemoryGuard | None = None
        self._engine: Engine | None = None
        self._metrics: Mapping[str, float | None] = {}
        self._train_time_s = 0.0
        self._images_trained = 0
        self._started_at = datetime.now(timezone.utc)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epochs_done >= self.config.epochs

    @cached_property
    def estimate(self) -> Estimate:
        """What the trial will hold at most; its `config` has the chunk that `auto` stands for."""
        return estimate_trial(self.config, len(self.data.train), len(self.data.val))

    def check_fits(self) -> None:
        """Refuse to start where not even the smallest chunk that `auto` may choose will fit.

        Raises:
            BudgetExceeded: says by how much, and what would.
        """
        if self.config.patch_microbatch == "auto" and self.config.budget is not None:
            check_fits(self.estimate, self.config.budget)

    @property
    def engine(self) -> Engine:
        """The network and its optimizer, built within the budget at the first call."""
        if self._engine is None:
            chosen = self.config.patch_microbatch == "auto"
            config = self.estimate.config if chosen else _as_run(self.config, len(self.data.train))
            self._guard = guard_for(self.device, self.config.budget)
            with self._guard as guard:
                self._engine = Engine(
                    config,
                    len(self.data.class_names),
                    guard,
                    batches_per_epoch=-(-len(self.data.train) // self.config.batch_size),
                    epochs=self.config.epochs,
                )
        return self._engine

    def run_epoch(self, on_batch: OnBatch | None = None) -> EpochRecord:
        """Train on every training image once, validate, and return the epoch's record.

        Raises:
            BudgetExceeded: more memory than the budget, in training or validation.
            LossNotFinite: the loss is infinite or not a number.
            DataError: an image became unreadable.
        """
        engine = self.engine
        guard = self._guard
        assert guard is not None
        torch.manual_seed(_seed(self.config.seed, self.epochs_done))
        try:
            with guard:
                if self.epochs_done:
                    guard.start_peak()
                started = time.perf_counter()
                train_loss = self._train(engine, guard, on_batch)
                trained = time.perf_counter()
                metrics = self._validate(engine, guard, on_batch)
                validated = time.perf_counter()
        finally:
            peak = guard.peak()
            self.peak = peak.merged(self.peak)
            if not self.epochs_done:
                self.timeline = guard.timeline
        guard.stop_attribution()
        self.epochs_done += 1
        self._metrics = metrics
        self._train_time_s += trained - started
        self._images_trained += len(self.data.train)
        return EpochRecord(
            trial_id=self.trial_id,
            epoch=self.epochs_done,
            train_loss=train_loss,
            learning_rate=engine.optimizer.param_groups[0]["lr"],
            metric_name=engine.task.metric_name,
            metric=metrics[engine.task.metric_name],
            metrics=metrics,
            peak_allocated_bytes=peak.allocated_bytes,
            peak_reserved_bytes=peak.reserved_bytes,
            peak_process_bytes=peak.process_bytes,
            train_time_s=trained - started,
            validation_time_s=validated - trained,
            images_per_s=len(self.data.train) / (trained - started),
        )

    def predict(
        self, examples: Sequence[Example], on_outputs: OnOutputs | None = None
    ) -> Mapping[str, float | None]:
        """Return the metrics over `examples`; their outputs go to `on_outputs`, batch by batch in
        their order.
        """
        engine = self.engine
        assert self._guard is not None
        with self._guard as guard:
            scores = self._scores(engine, guard, examples, on_outputs=on_outputs)
        return engine.task.metrics(scores)

    def save(self, folder: Path) -> None:
        """Write a checkpoint into `folder`, whole or not at all."""
        engine_state = self.engine.state()
        peak = None if self.peak is None else asdict(self.peak)
        state = {
            "config": asdict(self.config),
            "class_names": self.data.class_names,
            "epochs_done": self.epochs_done,
            "steps_done": engine_state["steps_done"],
            "scaler": engine_state["scaler"],
            "peak": peak,
            "metrics": dict(self._metrics),
            "train_time_s": self._train_time_s,
            "images_trained": self._images_trained,
            "started_at": self._started_at.isoformat(),
        }
        weights = self.engine.network.state_dict()
        save_checkpoint(folder, weights, engine_state["optimizer"], state)

    def load(self, folder: Path) -> None:
        """Go on from the checkpoint in `folder`.

        Raises:
            DataError: no checkpoint there, or a damaged one.
            ConfigError: it is of another configuration or of other classes.
        """
        state = load_state(folder)
        self.config.check_resumes(TrialConfig.from_mapping(state["config"]), folder)
        self._check_classes(state, folder)
        weights, optimizer = load_weights(folder), load_optimizer(folder)
        engine = self.engine
        assert self._guard is not None
        with self._guard:
            engine.load_state(weights, {**state, "optimizer": optimizer})
        self.epochs_done = state["epochs_done"]
        self.peak = None if state["peak"] is None else Peak(**state["peak"])
        self._metrics = state["metrics"]
        self._train_time_s = state["train_time_s"]
        self._images_trained = state["images_trained"]
        self._started_at = datetime.fromisoformat(state["started_at"])

    def load_weights(self, folder: Path) -> None:
        """Take the network's weights from the checkpoint in `folder`, to predict only.

        Raises:
            DataError: no checkpoint there, or a damaged one.
            ConfigError: it is of other classes.
        """
        self._check_classes(load_state(folder), folder)
        weights = load_weights(folder)
        engine = self.engine
        assert self._guard is not None
        with self._guard as guard, guard.on_host():
            try:
                engine.network.load_state_dict(weights)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                raise ConfigError(
                    f"{folder}: its weights are not of the network that config.yaml describes "
                    f"({reason}); put back the settings that it was trained with"
                ) from None

    def record(self, error: BaseException | None = None) -> TrialRecord:
        """Return what the trial left behind, with its status from `error` and `finished`."""
        config, peak = self.config, self.peak
        predicted: Estimate | None = self.__dict__.get("estimate")  # if it was asked for
        if self._guard is not None and peak is None:  # it ended while the network was built
            peak = self._guard.peak()
        by_category: Mapping[str, Any] = {} if peak is None else peak.by_category
        metric_name = build_task(config, len(self.data.class_names)).metric_name
        done = self._status(error) is TrialStatus.COMPLETED or self.epochs_done > 0
        return TrialRecord(
            trial_id=self.trial_id,
            sweep=self.sweep,
            status=self._status(error),
            task=config.task,
            dataset=config.dataset,
            data_is_sample=self.data.is_sample,
            method=config.method,
            image_size=config.image_size,
            patch_size=config.patch_size,
            sampling_rate=config.sampling_rate,
            num_sampled=config.num_sampled,
            inner_iterations=config.inner_iterations,
            fusion=config.fusion,
            backbone=config.backbone,
            encoder=own_encoder(config),
            aggregator=aggregator_name(config),
            layout=layout_name(config),
            norm=config.norm,
            precision=config.precision,
            batch_size=config.batch_size,
            accumulation_steps=config.accumulation_steps,
            learning_rate=config.learning_rate,
            patch_microbatch=str(config.patch_microbatch),
            patch_microbatch_used=self._patches_at_once(),
            predicted_peak_bytes=None if predicted is None else predicted.predicted_peak_bytes,
            predicted_reserved_bytes=None
            if predicted is None
            else predicted.predicted_reserved_bytes,
            budget_bytes=config.budget,
            peak_allocated_bytes=None if peak is None else peak.allocated_bytes,
            peak_reserved_bytes=None if peak is None else peak.reserved_bytes,
            peak_process_bytes=None if peak is None else peak.process_bytes,
            peak_phase=None if peak is None else peak.phase,
            **{f"peak_{name}_bytes": value for name, value in by_category.items()},
            cap_level=None if self._guard is None else self._guard.cap_level,
            metric_name=metric_name,
            metric=self._metrics.get(metric_name) if done else None,
            metrics=self._metrics,
            epochs=config.epochs,
            epochs_done=self.epochs_done,
            train_time_s=self._train_time_s if self.epochs_done else None,
            images_per_s=self._images_trained / self._train_time_s if self.epochs_done else None,
            num_parameters=None if self._engine is None else self._engine.num_parameters,
            num_train_images=len(self.data.train),
            num_val_images=len(self.data.val),
            num_skipped_images=self.data.num_skipped,
            seed=config.seed,
            device=_device_name(self.device),
            error=None if error is None else _one_line(error),
            started_at=self._started_at,
            finished_at=datetime.now(timezone.utc),
            versions=json.dumps(_versions()),
        )

    def close(self) -> None:
        """Free the device and lift the cap; the trainer is not used any more."""
        self._engine = None
        if self._guard is not None:
            self._guard.release()

    def _check_classes(self, state: Mapping[str, Any], folder: Path) -> None:
        """Raise ConfigError unless class k of the data is class k of the weights, for every k."""
        trained = tuple(state.get("class_names", self.data.class_names))
        if trained != self.data.class_names:
            raise ConfigError(
                f"{self.data.data_dir}: has the classes {_listed(self.data.class_names)}, but "
                f"{folder} was trained on {_listed(trained)}; name them alike and in the same "
                "order (in classes.csv, where there is one), or train anew"
            )

    def _patches_at_once(self) -> int | None:
        """Return how many patches go through the backbone at once; None if it is not chosen yet."""
        config = _as_run(self.config, len(self.data.train))
        if config.patch_microbatch == "auto":
            if "estimate" not in self.__dict__:
                return None
            config = self.estimate.config
        wanted = config.patch_microbatch
        return chunk_size(
            config.batch_size * config.inputs_per_image,
            config.inputs_per_group,
            wanted if isinstance(wanted, int) else None,
            grouped=mixes_inputs(config),
        )

    def _train(self, engine: Engine, guard: MemoryGuard, on_batch: OnBatch | None) -> float:
        generator = torch.Generator().manual_seed(_seed(self.config.seed, self.epochs_done, 1))
        augmentation = None
        if self.config.augmentations:
            seeds = (self.config.seed, self.epochs_done)
            augmentation = Augmentation(self.config.augmentations, *seeds)
        batches = self._batches(self.data.train, self._training_order(), augmentation)
        num_batches = len(batches)
        started = time.perf_counter()
        total, images_done = 0.0, 0
        for number, batch in enumerate(_fetched(batches, guard), 1):
            with guard.recording(not self.epochs_done and number <= _RECORDED_BATCHES):
                total += engine.train_batch(batch, generator) * len(batch)
            images_done += len(batch)
            if on_batch is not None:
                speed = images_done / (time.perf_counter() - started)
                loss = total / images_done
                on_batch(self._progress(guard, False, number, num_batches, loss, speed))
        engine.finish_epoch()
        return total / images_done

    def _validate(
        self, engine: Engine, guard: MemoryGuard, on_batch: OnBatch | None
    ) -> Mapping[str, float | None]:
        with guard.recording(False):
            scores = self._scores(engine, guard, self.data.val, on_batch)
        with guard.on_host():
            return engine.task.metrics(scores)

    def _scores(
        self,
        engine: Engine,
        guard: MemoryGuard,
        examples: Sequence[Example],
        on_batch: OnBatch | None = None,
        on_outputs: OnOutputs | None = None,
    ) -> list[Any]:
        """Return what the metrics need of each example."""
        batches = self._batches(examples, np.arange(len(examples)))
        num_batches = len(batches)
        started = time.perf_counter()
        scores: list[Any] = []
        images_done = 0
        for number, batch in enumerate(_fetched(batches, guard), 1):
            with guard.recording(not self.epochs_done and number == 1):
                outputs = engine.predict(batch)
            with guard.on_host():
                scored = engine.task.score(outputs, batch.targets)
            scores += scored
            if on_outputs is not None:
                part = examples[images_done : images_done + len(batch)]
                on_outputs(part, batch, outputs, scored)
            images_done += len(batch)
            if on_batch is not None:
                speed = images_done / (time.perf_counter() - started)
                on_batch(self._progress(guard, True, number, num_batches, None, speed))
        return scores

    def _training_order(self) -> np.ndarray:
        random = np.random.default_rng([self.config.seed, self.epochs_done])
        return random.permutation(len(self.data.train))

    def _batches(
        self,
        examples: Sequence[Example],
        order: np.ndarray,
        augmentation: Augmentation | None = None,
    ) -> DataLoader[Any]:
        size = self.config.batch_size
        return DataLoader(
            ImageDataset(examples, self.config.image_size, augmentation),
            batch_sampler=[order[i : i + size].tolist() for i in range(0, len(order), size)],
            num_workers=self.config.num_workers,
            collate_fn=_collate,
        )

    def _progress(
        self,
        guard: MemoryGuard,
        validating: bool,
        batches_done: int,
        num_batches: int,
        loss: float | None,
        images_per_s: float,
    ) -> Progress:
        return Progress(
            validating=validating,
            batches_done=batches_done,
            num_batches=num_batches,
            loss=loss,
            images_per_s=images_per_s,
            live_bytes=guard.live_bytes,
            peak_bytes=guard.peak().allocated_bytes,
        )

    def _status(self, error: BaseException | None) -> TrialStatus:
        if isinstance(error, (BudgetExceeded, torch.OutOfMemoryError)):
            return TrialStatus.OUT_OF_MEMORY
        if error is not None:
            return TrialStatus.FAILED
        return TrialStatus.COMPLETED if self.finished else TrialStatus.STOPPED_EARLY


def _check_last_batch(config: TrialConfig, size: int, num_train: int) -> None:
    try:
        check_network(config, batch_size=size)
    except ConfigError as error:
        raise ConfigError(
            f"batch_size={config.batch_size} leaves a last batch of {size} of the {num_train} "
            f"training images: {error}; or use a batch_size that leaves more"
        ) from None


def _as_run(config: TrialConfig, num_train: int) -> TrialConfig:
    """Return `config` with the batch size that the training images allow."""
    num_images = num_train or config.batch_size  # none where only predicting
    return replace(config, batch_size=min(config.batch_size, num_images))


def _collate(items: Sequence[tuple[np.ndarray, int | np.ndarray, int]]) -> HostBatch:
    images, targets, _ = zip(*items, strict=True)
    return HostBatch(images, targets)


def _fetched(batches: DataLoader[Any], guard: MemoryGuard) -> Iterator[HostBatch]:
    """Yield the batches, reading them being the host's business and none of the budget's."""
    with guard.on_host():
        iterator = iter(batches)
    while True:
        with guard.on_host():
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    named = isinstance(error, (BudgetExceeded, ConfigError)) or not text
    return text if named and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "patchtrain": patchtrain.__version__}
    for package in ("torch", "torchvision", "timm", "segmentation-models-pytorch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
