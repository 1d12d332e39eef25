"""`Encoder`: runs patches through the backbone chunk by chunk, with the gradient of all at once.

Two passes: the first runs all chunks without gradient for their features; the head's backward pass
gives dL/dfeatures; the second runs each chunk again with gradient and passes its part of
dL/dfeatures on. So only one chunk's activations are alive at a time, for one more forward pass in
time. The second pass draws the same random numbers and leaves running statistics alone.

Batch norm takes its statistics over a group of inputs (one image's sampled patches). So a chunk of
a network with batch norm is a whole number of groups, and results depend neither on the batch nor
on the chunk.

Knows nothing of methods, latent blocks or budgets.

Shapes: N inputs, p patch side in px; F features of an input: d numbers, or a map d x h x w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.meter import ACTIVATIONS
from patchtrain.models.backbones import norms_over_inputs
from patchtrain.step.batch import DeviceFeeder
from patchtrain.step.randomness import PerInputRandomness, draw_seed


@dataclass(frozen=True)
class Inputs:
    """Inputs of the backbone, still on the host."""

    num: int
    """N."""
    take: Callable[[int, int], np.ndarray]
    """take(start, stop) gives these inputs as uint8 [stop - start, p, p, 3]."""
    group: int
    """Consecutive inputs over which batch norm takes its statistics; divides N."""
    added: Callable[[int, int], np.ndarray] | None = None
    """Gives further images, like `take`, that are added to the inputs once both are normalised."""

    @classmethod
    def of(cls, pixels: np.ndarray, group: int) -> Inputs:
        """Return the images `pixels`, uint8 [N, p, p, 3], as inputs."""
        return cls(len(pixels), lambda start, stop: pixels[start:stop], group)


class Chunk(NamedTuple):
    """Inputs `start` to `stop` (not included) of a pass."""

    start: int
    stop: int


Part = TypeVar("Part")


class Representative(Protocol):
    """Picks the parts to go through out of equal ones, in their order."""

    def __call__(self, parts: Sequence[Part], /) -> Sequence[Part]:
        """Return some of `parts`, or all."""
        ...


def chunks_of(num: int, size: int) -> list[Chunk]:
    """Return `num` inputs cut into chunks of `size`, the first one perhaps smaller.

    The first chunk finds no gradients in memory, the others do; with the smaller one first, what
    is held grows with the size of a chunk.
    """
    first = num % size or size
    return [Chunk(max(0, stop - size), stop) for stop in range(first, num + 1, size)]


def normalises_over_inputs(backbone: nn.Module) -> bool:
    """Return whether a training pass of `backbone` mixes its inputs by statistics over them."""
    return any(module.training for module in norms_over_inputs(backbone))


class Encoded:
    """Features of a training pass, and the way back from them."""

    def __init__(self, encoder: Encoder, features: Tensor, second_run: SecondRun | None) -> None:
        self.features = features
        """[N, F]: a leaf that collects dL/dfeatures, or a tensor still attached to the backbone."""
        self._encoder = encoder
        self._second_run = second_run
        self._source: Encoded | None = None
        """The pass that `features` was made from, if it is not this one."""

    def seen_as(self, features: Tensor) -> Encoded:
        """Return the same pass with other `features`, made from its own."""
        seen = copy(self)
        seen.features, seen._source = features, self
        return seen

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, a scalar made from `features`, to all parameters."""
        if self._second_run is None:
            with self._encoder.recomputing():
                loss.backward()
        else:
            with self._encoder.guard.doing("head"):
                loss.backward()
            source = self._source or self
            gradient = source.features.grad
            assert gradient is not None, "the loss does not depend on the features"
            source.features.grad = None
            self._encoder.run_again(self._second_run, gradient)

    def backward_from(self, gradient: Tensor) -> None:
        """Add gradients to the backbone's parameters, given dL/dfeatures [N, F]."""
        if self._second_run is None:
            with self._encoder.recomputing():
                self.features.backward(gradient)
        else:
            self._encoder.run_again(self._second_run, gradient)


class SecondRun(NamedTuple):
    """What a training pass in chunks needs to run again with gradient."""

    inputs: Inputs
    chunks: Sequence[Chunk]
    seed: int


class Encoder:
    """Runs a backbone, given in training mode, over inputs from the host.

    Args:
        microbatch: inputs at once in a training pass; None: all.
        whole_batch: inputs of a whole batch, and of a group in it. If they do not run at once, a
            smaller last batch takes two passes too: in one pass it could hold more than a whole
            batch.
        autocast: makes the context of mixed precision.
        representative: picks the chunks to run; a dry run leaves out those that repeat others.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feeder: DeviceFeeder,
        guard: MemoryGuard,
        *,
        microbatch: int | None,
        whole_batch: tuple[int, int],
        autocast: Callable[[], AbstractContextManager[object]],
        representative: Representative,
    ) -> None:
        self.backbone = backbone
        self._feeder = feeder
        self.guard = guard
        self._microbatch = microbatch
        self._autocast = autocast
        self.representative = representative
        self._grouped = normalises_over_inputs(backbone)
        num_inputs, group = whole_batch
        self._at_once = self.chunk_size(num_inputs, group) == num_inputs
        self._draws_random_numbers = True  # until a training pass has shown that it does not
        self._last_pass: tuple[int, range] | None = None
        """Seed and inputs of the last forward pass that drew random numbers."""

    def chunk_size(self, num: int, group: int) -> int:
        """Return how many of the `num` inputs of a training pass run at once."""
        return chunk_size(num, group, self._microbatch, grouped=self._grouped)

    def encode(self, inputs: Inputs, at_once: int, category: str = ACTIVATIONS) -> Tensor:
        """Return the features [N, F], without gradient and in evaluation mode.

        Args:
            at_once: inputs that run at once.
            category: what the memory of the features is for.
        """
        with torch.no_grad(), _evaluating(self.backbone):
            return self._by_chunks(inputs, chunks_of(inputs.num, at_once), None, category)

    def encode_in_training(self, inputs: Inputs, seed: int, category: str = ACTIVATIONS) -> Tensor:
        """Return the features [N, F] in training mode, without gradient.

        Args:
            seed: of the random numbers that the backbone draws.
            category: what the memory of the features is for.
        """
        chunks = chunks_of(inputs.num, self.chunk_size(inputs.num, inputs.group))
        with torch.no_grad():
            return self._by_chunks(inputs, chunks, seed, category)

    def encode_for_training(self, inputs: Inputs, generator: torch.Generator) -> Encoded:
        """Return the features [N, F] in training mode, ready for `Encoded.backward`.

        Args:
            generator: on the host; seeds the random numbers that the backbone draws.
        """
        seed = draw_seed(generator)
        chunks = chunks_of(inputs.num, self.chunk_size(inputs.num, inputs.group))
        if self._at_once:
            return Encoded(self, self.forward(inputs, chunks[0], seed), None)
        features = self.encode_in_training(inputs, seed)
        return Encoded(self, features.requires_grad_(), SecondRun(inputs, chunks, seed))

    def run_again(self, run: SecondRun, gradient: Tensor) -> None:
        """Run the pass again and add gradients to the backbone, given dL/dfeatures [N, F]."""
        for chunk in self.representative(run.chunks):
            with statistics_kept(self.backbone):
                part = self.forward(run.inputs, chunk, run.seed)
            with self.recomputing():
                part.backward(gradient[chunk.start : chunk.stop])
            del part

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Context for a backward pass: activations that the backbone computes again inside (see the
        method `checkpointed`) come out as in the last forward pass.
        """
        with ExitStack() as stack:
            stack.enter_context(statistics_kept(self.backbone))
            if self._last_pass is not None:
                seed, numbers = self._last_pass
                stack.enter_context(PerInputRandomness(seed, numbers, self.guard.device))
            yield

    def _by_chunks(
        self, inputs: Inputs, chunks: Sequence[Chunk], seed: int | None, category: str
    ) -> Tensor:
        features: Tensor | None = None
        for chunk in self.representative(chunks):
            part = self.forward(inputs, chunk, seed)
            if len(chunks) == 1:
                self.guard.adopt([part], category)
                return part
            if features is None:
                with self.guard.allocating(category):
                    features = part.new_empty((inputs.num, *part.shape[1:]))
            features[chunk.start : chunk.stop] = part
            del part
        assert features is not None, "no inputs"
        return features

    def forward(self, inputs: Inputs, chunk: Chunk, seed: int | None) -> Tensor:
        """Return the features of `chunk`; if batch norm needs it, each group runs by itself.

        Args:
            seed: of a training pass; None in evaluation mode.
        """
        size = chunk.stop - chunk.start
        grouped = self._grouped and seed is not None
        passes = chunks_of(size, inputs.group if grouped else size)
        num_groups = inputs.num // inputs.group if grouped else 1
        parts = []
        with self._autocast(), _momentum(self.backbone, lambda m: _share(m, num_groups)):
            for start, stop in passes:
                numbers = range(chunk.start + start, chunk.start + stop)
                with self._randomness(seed, numbers):
                    pixels = self._feeder.pixels(inputs.take(numbers.start, numbers.stop))
                    if inputs.added is not None:
                        pixels += self._feeder.pixels(inputs.added(numbers.start, numbers.stop))
                    parts.append(self.backbone(pixels))
                    del pixels
            return parts[0] if len(parts) == 1 else torch.cat(parts)

    @contextmanager
    def _randomness(self, seed: int | None, numbers: range) -> Iterator[None]:
        """Context: random numbers drawn inside depend only on `seed` and the input's number."""
        if seed is None or not self._draws_random_numbers:
            yield
            return
        with PerInputRandomness(seed, numbers, self.guard.device) as randomness:
            yield
        self._draws_random_numbers = randomness.was_needed
        self._last_pass = (seed, numbers) if randomness.was_needed else None


def chunk_size(num: int, group: int, wanted: int | None, *, grouped: bool) -> int:
    """Return how many of the `num` inputs of a training pass run at once.

    Args:
        wanted: how many were asked for; None: all.
        grouped: whether groups must stay whole.
    """
    if wanted is None or wanted >= num:
        return num
    return max(group, wanted // group * group) if grouped else wanted


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Context: training passes inside leave the running statistics of `network` as they are."""
    norms = norms_over_inputs(network)
    counts = [norm._buffers.get("num_batches_tracked") for norm in norms]
    for norm in norms:
        if "num_batches_tracked" in norm._buffers:
            norm._buffers["num_batches_tracked"] = None
    try:
        with _momentum(network, lambda _: 0.0):
            yield
    finally:
        for norm, count in zip(norms, counts, strict=True):
            if "num_batches_tracked" in norm._buffers:
                norm._buffers["num_batches_tracked"] = count


@contextmanager
def _momentum(
    network: nn.Module, changed: Callable[[float | None], float | None]
) -> Iterator[None]:
    """Context: running statistics move by `changed(momentum)`."""
    norms = norms_over_inputs(network)
    before = [norm.momentum for norm in norms]
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = changed(momentum)  # type: ignore[assignment,arg-type]
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _share(momentum: float | None, num_groups: int) -> float | None:
    """Return the momentum with which `num_groups` updates forget as much as one with `momentum`."""
    return None if momentum is None else 1 - (1 - momentum) ** (1 / num_groups)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Context: `network` is in evaluation mode; its earlier mode is restored afterwards."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
