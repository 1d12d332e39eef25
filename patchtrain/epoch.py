"""Passes over all images, batch by batch: one trains, one scores, both report progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from patchtrain import interrupt
from patchtrain.batches import batches_in_order, fetched, training_batches
from patchtrain.config import TrialConfig
from patchtrain.datasets import Example
from patchtrain.engine import Engine
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import HostBatch

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


@dataclass(frozen=True)
class EpochPart:
    """The training of an epoch so far, between two batches."""

    batches_done: int = 0
    images_done: int = 0
    total_loss: float = 0.0
    """Over these images."""
    train_time_s: float = 0.0
    generator: torch.Tensor | None = None
    """State of the random generator for patches and dropout; None before the first batch."""


OnBatch = Callable[[Progress], None]
"""May raise `Stopped`: the epoch can go on from there, see `EpochRunner.part`."""

OnOutputs = Callable[[Sequence[Example], HostBatch, np.ndarray, Sequence[Any]], None]
"""Takes some examples, their images, their outputs (see `Engine.predict`) and what the task's
metrics need for each (see `Task.score`)."""


def seed_from(*numbers: int) -> int:
    """Return one seed that depends on all `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class EpochRunner:
    """Runs one epoch on an engine.

    Args:
        guard: already entered.
        epoch: 0 for the first, which records the memory timeline.
        part: how much of this epoch is already trained; the engine must be in the state of then.

    Attributes:
        part: how much is trained by now, in whole batches.
    """

    def __init__(
        self,
        config: TrialConfig,
        engine: Engine,
        guard: MemoryGuard,
        *,
        epoch: int,
        on_batch: OnBatch | None = None,
        part: EpochPart | None = None,
    ) -> None:
        self.part = part or EpochPart()
        self._config = config
        self._engine = engine
        self._guard = guard
        self._epoch = epoch
        self._on_batch = on_batch

    def train(self, examples: Sequence[Example]) -> float:
        """Train on the rest of all `examples` and return the mean loss of all."""
        before = self.part
        generator = torch.Generator()
        if before.generator is None:
            generator.manual_seed(seed_from(self._config.seed, self._epoch, 1))
        else:
            generator.set_state(before.generator)
        batches = training_batches(self._config, examples, self._epoch, skip=before.batches_done)
        num_batches = before.batches_done + len(batches)
        started = time.perf_counter()
        for number, batch in enumerate(fetched(batches, self._guard), before.batches_done + 1):
            with self._recording(number <= _RECORDED_BATCHES):
                loss = self._engine.train_batch(batch, generator, watched=number == 1)
            took_s = time.perf_counter() - started
            self.part = EpochPart(
                batches_done=number,
                images_done=self.part.images_done + len(batch),
                total_loss=self.part.total_loss + loss * len(batch),
                train_time_s=before.train_time_s + took_s,
                generator=generator.get_state(),
            )
            speed = (self.part.images_done - before.images_done) / took_s
            self._report(
                number, num_batches, speed, loss=self.part.total_loss / self.part.images_done
            )
            interrupt.check()
        self._engine.finish_epoch()
        took_s = time.perf_counter() - started
        self.part = replace(self.part, train_time_s=before.train_time_s + took_s)
        return self.part.total_loss / self.part.images_done

    def score(self, examples: Sequence[Example], on_outputs: OnOutputs | None = None) -> list[Any]:
        """Return what the metrics need for each of the `examples`."""
        batches = batches_in_order(self._config, examples)
        num_batches = len(batches)
        started = time.perf_counter()
        scores: list[Any] = []
        for number, batch in enumerate(fetched(batches, self._guard), 1):
            with self._recording(number == 1):
                outputs = self._engine.predict(batch)
            with self._guard.on_host():
                scored = self._engine.task.score(outputs, batch.targets)
            if on_outputs is not None:
                part = examples[len(scores) : len(scores) + len(batch)]
                on_outputs(part, batch, outputs, scored)
            scores += scored
            speed = len(scores) / (time.perf_counter() - started)
            self._report(number, num_batches, speed, loss=None)
            interrupt.check()
        return scores

    def _recording(self, wanted: bool) -> Any:
        return self._guard.recording(self._epoch == 0 and wanted)

    def _report(
        self, batches_done: int, num_batches: int, images_per_s: float, *, loss: float | None
    ) -> None:
        if self._on_batch is None:
            return
        progress = Progress(
            validating=loss is None,
            batches_done=batches_done,
            num_batches=num_batches,
            loss=loss,
            images_per_s=images_per_s,
            live_bytes=self._guard.live_bytes,
            peak_bytes=self._guard.peak().allocated_bytes,
        )
        self._on_batch(progress)
