"""`Trainer`: the loop of one trial, an epoch at a time. No argument parsing, no printing.

Knows nothing of who calls it: the command line, a sweep or a test.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from patchtrain.config import TrialConfig
from patchtrain.datasets import Example, ImageData, load_dataset
from patchtrain.device import resolve_device
from patchtrain.engine import Engine
from patchtrain.epoch import EpochRunner, OnBatch, OnOutputs, seed_from
from patchtrain.errors import ConfigError
from patchtrain.estimation.advice import check_fits
from patchtrain.estimation.peak import Estimate
from patchtrain.faults import failed_by
from patchtrain.interrupt import Stopped, deferred
from patchtrain.memory.budget import MemoryGuard, Peak
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.guards import guard_for
from patchtrain.memory.meter import TimelinePoint
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus
from patchtrain.recording import device_name, new_record, versions_json
from patchtrain.step.encoder import chunk_size
from patchtrain.tasks import build_task, mixes_inputs
from patchtrain.trial_checks import as_run, check, check_last_batch, estimate_trial
from patchtrain.trial_state import (
    Begun,
    TrialState,
    load_trained_weights,
    load_trial,
    save_trial,
)


class _Epoch(NamedTuple):
    """What one epoch gave."""

    train_loss: float
    metrics: Mapping[str, float | None]
    train_time_s: float
    validation_time_s: float


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
            check_last_batch(config, last_batch, len(self.data.train))
        self.timeline: Sequence[TimelinePoint] = ()
        self._guard: MemoryGuard | None = None
        self._engine: Engine | None = None
        self._state = TrialState()

    @property
    def epochs_done(self) -> int:
        """Epochs that are finished, those before a resumption included."""
        return self._state.epochs_done

    @property
    def batches_done(self) -> int:
        """Batches that are trained of the epoch after these, if it was stopped within."""
        return self._state.begun.part.batches_done if self._state.begun else 0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epochs_done >= self.config.epochs

    @property
    def peak(self) -> Peak | None:
        """The most memory held so far; None before the first epoch."""
        return self._state.peak

    @cached_property
    def estimate(self) -> Estimate:
        """The estimate for this trial; its `config` has the chunk that `auto` stands for. On a GPU
        it counts what CUDA and its libraries take there.
        """
        facts = self._ready_guard().facts if self.device.type == "cuda" else None
        return estimate_trial(self.config, len(self.data.train), len(self.data.val), facts)

    def check_fits(self) -> None:
        """Refuse to start if even the smallest chunk that `auto` may choose does not fit.

        Raises:
            BudgetExceeded: says by how much, and which setting would fit.
        """
        if self.config.patch_microbatch == "auto" and self.config.budget is not None:
            check_fits(self.estimate, self.config.budget)

    @property
    def engine(self) -> Engine:
        """The network and its optimizer, built within the budget at the first call."""
        if self._engine is None:
            chosen = self.config.patch_microbatch == "auto"
            config = self.estimate.config if chosen else as_run(self.config, len(self.data.train))
            with deferred(), self._ready_guard() as guard:
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
            Stopped: a signal arrived, or `on_batch` raised it. The next call goes on from there,
                and so does a trainer that loads what `save` writes now.
            BudgetExceeded: more memory than the budget, in training or validation.
            LossNotFinite: the loss is infinite or not a number.
            DataError: an image became unreadable.
        """
        engine, guard = self._engine_and_guard()
        state, begun = self._state, self._state.begun
        state.begun = None  # no longer true of the network
        runner = EpochRunner(
            self.config,
            engine,
            guard,
            epoch=self.epochs_done,
            on_batch=on_batch,
            part=begun.part if begun else None,
        )
        torch.manual_seed(seed_from(self.config.seed, state.epochs_done))
        try:
            with deferred(), guard:
                if state.epochs_done:
                    guard.start_peak()
                done = self._train_and_validate(runner, engine, guard)
        except Stopped:
            peak = guard.peak().merged(begun.peak if begun else None)
            state.begun = Begun(runner.part, peak, engine.influence)
            raise
        finally:
            peak = guard.peak().merged(begun.peak if begun else None)
            state.peak = peak.merged(state.peak)
            if not state.epochs_done:
                self.timeline = guard.timeline or self.timeline
        guard.stop_attribution()
        state.epochs_done += 1
        state.metrics = done.metrics
        state.train_time_s += done.train_time_s
        state.images_trained += len(self.data.train)
        return self._epoch_record(engine, done, peak)

    def predict(
        self, examples: Sequence[Example], on_outputs: OnOutputs | None = None
    ) -> Mapping[str, float | None]:
        """Return the metrics over `examples`; their outputs go to `on_outputs`, batch by batch in
        their order.
        """
        engine, guard = self._engine_and_guard()
        with deferred(), guard:
            runner = EpochRunner(self.config, engine, guard, epoch=self.epochs_done)
            scores = runner.score(examples, on_outputs)
        return engine.task.metrics(scores)

    def save(self, folder: Path) -> None:
        """Write a checkpoint into `folder`, whole or not at all."""
        save_trial(folder, self.config, self.data, self.engine, self._state)

    def load(self, folder: Path) -> None:
        """Resume from the checkpoint in `folder`.

        Raises:
            DataError: no checkpoint there, or a damaged one.
            ConfigError: it belongs to another configuration, to other classes or to other data.
        """
        saved = load_trial(folder, self.config, self.data)
        if saved.data is not self.data:
            self.data = saved.data
            self._engine = None
            self.__dict__.pop("estimate", None)
        engine, guard = self._engine_and_guard()
        with deferred(), guard:
            engine.load_state(saved.weights, saved.engine)
        self._state = saved.state
        if saved.state.begun is not None:
            engine.influence = saved.state.begun.influence

    def load_weights(self, folder: Path) -> None:
        """Take the network's weights from the checkpoint in `folder`, to predict only.

        Raises:
            DataError: no checkpoint there, or a damaged one.
            ConfigError: it belongs to other classes or to another network.
        """
        weights = load_trained_weights(folder, self.data)
        engine, guard = self._engine_and_guard()
        with deferred(), guard, guard.on_host():
            try:
                engine.network.load_state_dict(weights)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                raise ConfigError(
                    f"{folder}: its weights do not fit the network that config.yaml describes "
                    f"({reason}); restore the settings that it was trained with"
                ) from None

    def record(self, error: BaseException | None = None) -> TrialRecord:
        """Return the trial's record, its status from `error` and `finished`."""
        config, engine, state = self.config, self._engine, self._state
        num_classes = len(self.data.class_names)
        status = self._status(error)
        metric_name = build_task(config, num_classes).metric_name
        is_measured = status is TrialStatus.COMPLETED or state.epochs_done > 0
        return new_record(
            config,
            trial_id=self.trial_id,
            sweep=self.sweep,
            status=status,
            num_classes=num_classes,
            data_is_sample=self.data.is_sample,
            patch_microbatch_used=self._patches_at_once(),
            cap_level=None if self._guard is None else self._guard.cap_level,
            metric=state.metrics.get(metric_name) if is_measured else None,
            metrics=state.metrics,
            epochs_done=state.epochs_done,
            num_parameters=None if engine is None else engine.num_parameters,
            device=device_name(self.device),
            error=None if error is None else _one_line(error),
            failed_by=failed_by(error) if error and status is TrialStatus.FAILED else None,
            started_at=state.started_at,
            versions=versions_json(),
            **self._recorded_data(),
            **self._recorded_speed(),
            **self._recorded_prediction(),
            **self._recorded_peak(),
        )

    def close(self) -> None:
        """Free the device and lift the cap; do not use the trainer afterwards."""
        self._engine = None
        if self._guard is not None:
            self._guard.release()

    # --- one epoch ---

    def _ready_guard(self) -> MemoryGuard:
        if self._guard is None:
            self._guard = guard_for(self.device, self.config.budget, self.config.precision)
        return self._guard

    def _engine_and_guard(self) -> tuple[Engine, MemoryGuard]:
        return self.engine, self._ready_guard()

    def _train_and_validate(
        self, runner: EpochRunner, engine: Engine, guard: MemoryGuard
    ) -> _Epoch:
        train_loss = runner.train(self.data.train)
        trained = time.perf_counter()
        with guard.recording(False):
            scores = runner.score(self.data.val)
        with guard.on_host():
            metrics = engine.task.metrics(scores)
        validation_time_s = time.perf_counter() - trained
        return _Epoch(train_loss, metrics, runner.part.train_time_s, validation_time_s)

    def _epoch_record(self, engine: Engine, done: _Epoch, peak: Peak) -> EpochRecord:
        influence = engine.influence
        return EpochRecord(
            trial_id=self.trial_id,
            epoch=self.epochs_done,
            train_loss=done.train_loss,
            learning_rate=engine.optimizer.param_groups[0]["lr"],
            metric_name=engine.task.metric_name,
            metric=done.metrics[engine.task.metric_name],
            metrics=done.metrics,
            peak_allocated_bytes=peak.allocated_bytes,
            peak_reserved_bytes=peak.reserved_bytes,
            peak_process_bytes=peak.process_bytes,
            train_time_s=done.train_time_s,
            validation_time_s=done.validation_time_s,
            images_per_s=len(self.data.train) / done.train_time_s,
            global_gradient_share=influence.gradient_share if influence else None,
            global_size=influence.size if influence else None,
        )

    # --- the record ---

    def _recorded_data(self) -> dict[str, Any]:
        return {
            "num_train_images": len(self.data.train),
            "num_val_images": len(self.data.val),
            "num_skipped_images": self.data.num_skipped,
            "data_hash": self.data.identity,
        }

    def _recorded_speed(self) -> dict[str, Any]:
        """Return the columns of the training time, if an epoch is done."""
        state = self._state
        if not state.epochs_done:
            return {}
        return {
            "train_time_s": state.train_time_s,
            "images_per_s": state.images_trained / state.train_time_s,
        }

    def _recorded_prediction(self) -> dict[str, Any]:
        """Return the columns of the estimate, if one was made."""
        predicted: Estimate | None = self.__dict__.get("estimate")
        if predicted is None:
            return {}
        names = ("predicted_peak_bytes", "predicted_reserved_bytes")
        return {name: getattr(predicted, name) for name in names}

    def _recorded_peak(self) -> dict[str, Any]:
        """Return the columns of the peak, if anything ran."""
        peak = self.peak
        if self._guard is not None and peak is None:  # the trial ended while the network was built
            peak = self._guard.peak()
        if peak is None:
            return {}
        return {
            "peak_allocated_bytes": peak.allocated_bytes,
            "peak_reserved_bytes": peak.reserved_bytes,
            "peak_process_bytes": peak.process_bytes,
            "peak_phase": peak.phase,
            **{f"peak_{name}_bytes": value for name, value in peak.by_category.items()},
        }

    def _patches_at_once(self) -> int | None:
        """Return how many patches go through the backbone at once; None if not chosen yet."""
        config = as_run(self.config, len(self.data.train))
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

    def _status(self, error: BaseException | None) -> TrialStatus:
        if isinstance(error, (BudgetExceeded, torch.OutOfMemoryError)):
            return TrialStatus.OUT_OF_MEMORY
        if error is not None:
            return TrialStatus.FAILED
        return TrialStatus.COMPLETED if self.finished else TrialStatus.STOPPED_EARLY


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    named = isinstance(error, (BudgetExceeded, ConfigError)) or not text
    return text if named and text else f"{type(error).__name__}: {text}".rstrip(": ")
