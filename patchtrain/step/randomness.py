"""Random numbers of a training pass: dropout that does not depend on which inputs run together.

Inside `PerInputRandomness` random operations draw for each input by itself, from the pass's seed
and the input's number. So a pass cut into chunks draws the same numbers as the whole pass, and a
pass that runs twice draws the same twice. Knows nothing of networks.

Shapes: N inputs of the pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode


def unseen() -> AbstractContextManager[object]:
    """Context: operations on the host run for real, unseen by any dispatch mode that is active."""
    return no_dispatch()


def same_as(generator: torch.Generator) -> torch.Generator:
    """Return a generator that draws what `generator`, on the host, would draw next."""
    with unseen():
        return torch.Generator().set_state(generator.get_state())


def seed_from(generator: torch.Generator) -> None:
    """Seed torch's random state, from which heads draw, by what `generator` would draw next: so it
    depends neither on what ran before nor on whether a trial was resumed.
    """
    seed = draw_seed(same_as(generator))
    with unseen():
        torch.manual_seed(seed)


@contextmanager
def restored(device: torch.device) -> Iterator[None]:
    """Context: torch's random state is afterwards as it was before."""
    devices = [device] if device.type == "cuda" else []
    with unseen():
        forked = torch.random.fork_rng(devices)
        forked.__enter__()
    try:
        yield
    finally:
        with unseen():
            forked.__exit__(None, None, None)


def draw_seed(generator: torch.Generator) -> int:
    """Return a number drawn from `generator`, which is on the host."""
    with unseen():
        return int(torch.randint(2**62, (), generator=generator).item())


_ATEN = torch.ops.aten
_OUT_OF_PLACE = {
    _ATEN.rand.default: (_ATEN.empty.memory_format, _ATEN.uniform_.default),
    _ATEN.rand_like.default: (_ATEN.empty_like.default, _ATEN.uniform_.default),
    _ATEN.randn.default: (_ATEN.empty.memory_format, _ATEN.normal_.default),
    _ATEN.randn_like.default: (_ATEN.empty_like.default, _ATEN.normal_.default),
    _ATEN.bernoulli.default: (_ATEN.empty_like.default, _ATEN.bernoulli_.Tensor),
    _ATEN.bernoulli.p: (_ATEN.empty_like.default, _ATEN.bernoulli_.float),
}
"""Operation that returns a new tensor -> what allocates the tensor, and what draws into it."""


class PerInputRandomness(TorchDispatchMode):
    """Active around a forward pass of the inputs `numbers`, and around a recomputation of it.

    Draws whose first axis is not the inputs' (or a whole multiple of them, as with windows of an
    image) are left to torch's random state, which is seeded for the pass and restored after it.

    Args:
        seed: seed of the whole pass.
        numbers: the numbers of these inputs in the whole pass, in their order.

    Attributes:
        was_needed: whether anything was drawn.
    """

    def __init__(self, seed: int, numbers: Sequence[int], device: torch.device) -> None:
        super().__init__()
        self.was_needed = False
        self._seed = seed
        self._numbers = numbers
        self._device = device
        self._forked: Any = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in `MemoryMeter`

    def __enter__(self) -> PerInputRandomness:
        self._forked = restored(self._device)
        self._forked.__enter__()
        with unseen():
            torch.manual_seed(self._seed)
        super().__enter__()
        return self

    def __exit__(self, error_type: Any, error: Any, traceback: Any) -> None:
        super().__exit__(error_type, error, traceback)
        self._forked.__exit__(None, None, None)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        self.was_needed = True
        if func is _ATEN.native_dropout.default:
            return self._dropout(*args)
        if kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name != "generator"}
        if func in _OUT_OF_PLACE:
            allocate, fill = _OUT_OF_PLACE[func]
            fill_args = args if func is _ATEN.bernoulli.default else args[1:]
            return self._drawn(fill, allocate(args[0], **kwargs), fill_args, {})
        if func._schema.name.endswith("_"):
            return self._drawn(func, args[0], args[1:], kwargs)
        return func(*args, **kwargs)

    def _dropout(self, tensor: Tensor, p: float, train: bool) -> tuple[Tensor, Tensor]:
        """Return the same as the fused kernel: the output and the mask of kept values."""
        mask = torch.empty_like(tensor, dtype=torch.bool)
        if train:
            self._drawn(_ATEN.bernoulli_.float, mask, (1.0 - p,), {})
        else:
            mask.fill_(True)
        scale = 1.0 / (1.0 - p) if train and p < 1 else float(not train)
        return (tensor * mask).mul_(scale), mask

    def _drawn(
        self, func: Any, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Return `tensor`, filled by `func`; input by input, if its first axis is the inputs'."""
        num_inputs = len(self._numbers)
        if not (tensor.ndim and tensor.shape[0] and tensor.shape[0] % num_inputs == 0):
            return func(tensor, *args, **kwargs)
        # from torch's random state, which activation checkpointing restores before it recomputes
        base = draw_seed(torch.default_generator)
        rows = tensor.shape[0] // num_inputs
        for place, number in enumerate(self._numbers):
            generator = torch.Generator(self._device).manual_seed((base + number) % 2**63)
            chosen = slice(place * rows, (place + 1) * rows)
            part = tensor[chosen]
            part_args = (
                arg[chosen] if getattr(arg, "shape", None) == tensor.shape else arg for arg in args
            )
            # drawn apart: fills follow the order in memory, which may differ for a single input
            drawn = torch.empty(part.shape, dtype=part.dtype, device=part.device)
            part.copy_(func(drawn, *part_args, generator=generator, **kwargs))
        return tensor
