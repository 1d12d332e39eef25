"""A trial's step without data and without memory: what it would allocate, event by event.

The engine that trains runs here too, under torch's `FakeTensorMode` (tensors without content) and
the meter. Repeats are left out: of equal chunks the third and later ones, of equal inner iterations
all but those that find something new in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from patchtrain.config import TrialConfig
from patchtrain.engine import Engine
from patchtrain.estimation.autocast import autocast_of_cuda, forgetting_weights
from patchtrain.estimation.kernels import AsKernelsDo, composed_as_on_cuda
from patchtrain.estimation.scratch import scratch_of, scratch_of_bias
from patchtrain.grid.patches import PatchGrid
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.meter import PARAMETERS, MemoryMeter
from patchtrain.memory.trace import Trace, TraceRecorder
from patchtrain.models import Network, lay_out, memory_layout
from patchtrain.step.batch import DeviceFeeder, HostBatch
from patchtrain.step.encoder import Part
from patchtrain.tasks import build_network, parts_of


def shortened(config: TrialConfig, *, with_gaps: bool = False) -> TrialConfig:
    """Return `config` with the fewest inner iterations that show everything that happens in memory.

    The first batch must end after an optimizer step, and the second must find in memory everything
    that a batch can find: gradients left by the batch before, if any can be, and by the iteration
    before.

    Args:
        with_gaps: a second iteration too, which finds the gaps that the first has left.
    """
    iterations = config.inner_iterations if config.samples_patches else 1
    if config.accumulation_steps == 1:
        wanted, accumulation = min(iterations, 1 + with_gaps), 1
    elif iterations % config.accumulation_steps == 0:
        wanted, accumulation = 2, 2
    else:
        wanted, accumulation = 3, 2
    return replace(config, inner_iterations=wanted, accumulation_steps=accumulation)


_LIFT = torch.ops.aten.lift_fresh.default
"""Makes a tensor of a number, on the host."""
_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default
"""Sums up the gradient of the bias when the other two are there."""


@dataclass(frozen=True)
class ShapeBatch(HostBatch):
    """A batch that has shapes but no pixels: all of them are the same byte."""

    @classmethod
    def blank(cls, num_images: int, config: TrialConfig) -> ShapeBatch:
        """Return a batch of `num_images` images of the sizes in `config`."""
        side_px = config.image_size
        target = parts_of(config).blank_target(side_px)
        return cls([_blank(side_px, side_px, 3)] * num_images, [target] * num_images)

    def whole(self) -> np.ndarray:
        """Return every image at full size, uint8 [B, H, W, 3]."""
        return _blank(len(self), *self.images[0].shape)

    def sampled(self, grid: PatchGrid, positions: np.ndarray, *, with_whole: bool) -> np.ndarray:
        """Return the patches at `positions` [B, k] and the images, uint8 [N, p, p, 3]."""
        num = positions.size + with_whole * len(self)
        return _blank(num, grid.patch_size, grid.patch_size, 3)

    def cells(self, grid: PatchGrid, start: int, stop: int) -> np.ndarray:
        """Return the patches `start` to `stop`, uint8 [N, p, p, 3]."""
        return _blank(stop - start, grid.patch_size, grid.patch_size, 3)

    def tiles(self, places: np.ndarray, side_px: int) -> np.ndarray:
        """Return the patches at `places` [N, 3], uint8 [N, p, p, 3]."""
        return _blank(len(places), side_px, side_px, 3)

    def masks(self, image: int, grid: PatchGrid, cells: np.ndarray) -> np.ndarray:
        """Return the classes in `cells` [c], uint8 [c, p, p]."""
        return _blank(len(cells), grid.patch_size, grid.patch_size)

    def resized(self, side_px: int) -> np.ndarray:
        """Return the images resized, uint8 [B, side, side, 3]."""
        return _blank(len(self), side_px, side_px, 3)


class _ShapeFeeder(DeviceFeeder):
    """Feeds tensors of the right shapes, without values."""

    def _on_host(self, array: np.ndarray) -> Tensor:
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        return torch.empty(array.shape, dtype=dtype)


class _DryEngine(Engine):
    """The engine on tensors without values."""

    _feeder_type = _ShapeFeeder

    def __init__(
        self,
        config: TrialConfig,
        num_classes: int,
        guard: MemoryGuard,
        network: Network,
        fake_mode: FakeTensorMode,
        target: torch.device,
        with_gaps: bool,
    ) -> None:
        self._ready = network
        self._fake_mode = fake_mode
        self._target = target
        self._with_gaps = with_gaps
        super().__init__(config, num_classes, guard, batches_per_epoch=1, epochs=1)

    def _build_network(self, num_classes: int) -> Network:
        for module in self._ready.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = self._fake_mode.from_tensor(tensor)  # type: ignore[assignment]
        network, self._ready = self._ready, None  # type: ignore[assignment]
        self._guard.adopt(_as_they_move(network), PARAMETERS)
        with self._guard.allocating(PARAMETERS):
            lay_out(network, self._layout(), self._target)
        self._guard.adopt([*network.parameters(), *network.buffers()], PARAMETERS)
        return network

    def _autocast(self) -> AbstractContextManager[object]:
        return forgetting_weights(super()._autocast())

    def _layout(self) -> torch.memory_format:
        return memory_layout(self._config, self._target)

    def _representative(self, parts: Sequence[Part], /) -> Sequence[Part]:
        # the first finds no gradients in memory; the second does, as do all after it
        first = parts[:-2][: int(self._with_gaps)]  # may be smaller, and leaves other gaps
        return [*first, *parts[-2:]]

    def _read_loss(self, loss: Tensor) -> float:
        return 0.0

    def _to_host(self, outputs: Tensor) -> np.ndarray:
        return _blank(*outputs.shape)


def _as_they_move(module: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers of `module` in the order in which `Module.to` moves them."""
    for child in module.children():
        yield from _as_they_move(child)
    for tensors in (module._parameters, module._buffers):
        yield from (tensor for tensor in tensors.values() if tensor is not None)


class _KernelMeter(MemoryMeter):
    """Counts as on CUDA, where some kernels take scratch memory beside their results, and the
    optimizer's unfused kernels count their steps on the host.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is _LIFT and self.phase == "optimizer":
            with self.on_host():
                return super().__torch_dispatch__(func, types, args, kwargs)
        # held until the result is there: most are copies that it is computed from
        scratch = self._held(scratch_of(func, args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if func is _CONVOLUTION_BACKWARD and result[2] is not None:
            self._see_all(result[:2])
            scratch.clear()
            scratch = self._held(scratch_of_bias(*args))
        self._see_all(result)
        return result

    def _held(self, sizes: Sequence[int]) -> list[Tensor]:
        blocks = [torch.empty(size, dtype=torch.uint8) for size in sizes]
        self._see_all(blocks)
        return blocks


class TracingGuard(MemoryGuard):
    """Enforces nothing and records what is allocated and freed on `target`."""

    def __init__(self, target: torch.device) -> None:
        super().__init__(torch.device("cpu"), None)
        if target.type == "cuda":
            self._meter = _KernelMeter()
        self.recorder = self._meter.trace = TraceRecorder()


class _NoRandomFills(TorchDispatchMode):
    """Skips drawing the random numbers of new weights, which takes time and memory.

    Some code draws again and again until it likes the numbers, and would never stop here. So if the
    same shape is asked for twice in a row, the second time it really is drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: Any = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and func._schema.name.endswith("_"):
            last, self._last = self._last, (func, args[0].shape)
            if last != self._last:
                return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_truncation() -> Iterator[None]:
    """Context: `trunc_normal_` does nothing. From torch 2.14 on it draws again until every value is
    within bounds.
    """
    name = "_no_grad_trunc_normal_"
    before = getattr(nn.init, name, None)
    if before is None:
        yield
        return
    setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        setattr(nn.init, name, before)


def dry_run(
    config: TrialConfig,
    num_classes: int,
    target: torch.device,
    num_validated: int | None = None,
    *,
    with_gaps: bool = False,
) -> Trace:
    """Return what training and validation of `config` allocate and free.

    Args:
        target: the device to train on, which need not be there.
        num_validated: images of a validation batch; None: `config.batch_size`.
        with_gaps: run what decides where gaps are between blocks too. It does not change what
            tensors hold, but what an allocator holds that cannot grow its segments.

    Raises:
        ConfigError: the network cannot be built or trained.
    """
    config = replace(config, weights="none", budget=None, device="cpu")
    config = shortened(config, with_gaps=with_gaps)
    num_validated = num_validated or config.batch_size
    parts_of(config).check_names(config)  # imports the user's own modules outside of any mode
    # on CUDA what the first batch leaves decides where the allocator finds room later
    num_first = config.batch_size if target.type == "cuda" else 1
    try:
        return _run(config, num_classes, target, num_first, num_validated, with_gaps)
    except ValueError:  # batch norm over a batch of pooled values needs two images
        num_first = min(2, config.batch_size)
        return _run(config, num_classes, target, num_first, num_validated, with_gaps)


def _run(
    config: TrialConfig,
    num_classes: int,
    target: torch.device,
    num_first: int,
    num_validated: int,
    with_gaps: bool,
) -> Trace:
    """Run a batch of `num_first` images, to create the optimizer's state, then a whole batch and a
    validation batch. If a batch is one iteration, run as many batches as a step takes.
    """
    guard = TracingGuard(target)
    with torch.random.fork_rng(devices=[]):
        with _NoRandomFills(), _without_truncation():
            network = build_network(config, num_classes).train()
        with without_content(target, guard, is_16_bits=config.is_16_bits) as fake_mode:
            engine = _DryEngine(config, num_classes, guard, network, fake_mode, target, with_gaps)
            del network
            generator = torch.Generator()
            first = ShapeBatch.blank(num_first, config)
            whole = ShapeBatch.blank(config.batch_size, config)
            times = 1 if config.samples_patches else config.accumulation_steps
            for batch in (first,) * times + (whole,) * times:
                engine.train_batch(batch, generator)
            engine.finish_epoch()
            engine.predict(ShapeBatch.blank(num_validated, config))
            return guard.recorder.trace()


@contextmanager
def without_content(
    target: torch.device, guard: MemoryGuard, *, is_16_bits: bool
) -> Iterator[FakeTensorMode]:
    """Context: tensors have no content, and operations take and give what they do on `target`,
    which `guard` counts.
    """
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    with ExitStack() as stack:
        if target.type == "cuda":
            stack.enter_context(composed_as_on_cuda())
            if is_16_bits:
                stack.enter_context(autocast_of_cuda())
        for mode in (fake_mode, AsKernelsDo(target), guard):
            stack.enter_context(mode)
        yield fake_mode


def _blank(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.uint8(0), shape)
