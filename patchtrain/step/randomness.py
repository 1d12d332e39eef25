"""Random numbers of a training pass: dropout that does not depend on which inputs run together.

Inside `PerInputRandomness` random operations draw for each input by itself, from a seed of the pass
and the input's number. So a pass cut into chunks draws what the whole pass draws, and a
pass that runs twice draws the same twice. Knows nothing of networks.

Shapes: N inputs of the pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode


def unseen() -> AbstractContextManager[object]:
    """Context: real operations of the host, which no dispatch mode around sees or fakes."""
    return no_dispatch()


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
"""Operations that return a new tensor: what allocates it, and what draws into it."""


class PerInputRandomness(TorchDispatchMode):
    """Active around a forward pass of the inputs `numbers`, and around a recomputation of it.

    Draws whose first axis is not the inputs' (or whole multiples of them, as windows of an image
    are) are left to torch's random state, which is the pass's own inside and put back after it.

    Args:
        seed: of the whole pass.
        numbers: which inputs of the whole pass these are, in their order.

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
        devices = [self._device] if self._device.type == "cuda" else []
        with unseen():
            self._forked = torch.random.fork_rng(devices)
            self._forked.__enter__()
            torch.manual_seed(self._seed)
        super().__enter__()
        return self

    def __exit__(self, error_type: Any, error: Any, traceback: Any) -> None:
        super().__exit__(error_type, error, traceback)
        with unseen():
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
            of_fill = args if func is _ATEN.bernoulli.default else args[1:]
            return self._drawn(fill, allocate(args[0], **kwargs), of_fill, {})
        if func._schema.name.endswith("_"):
            return self._drawn(func, args[0], args[1:], kwargs)
        return func(*args, **kwargs)

    def _dropout(self, tensor: Tensor, p: float, train: bool) -> tuple[Tensor, Tensor]:
        """Return what the fused kernel returns: the output and the mask of what was kept."""
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
        """Return `tensor`, filled by `func`; input by input, if its first axis is theirs."""
        num_inputs = len(self._numbers)
        if not (tensor.ndim and tensor.shape[0] and tensor.shape[0] % num_inputs == 0):
            return func(tensor, *args, **kwargs)
        # from torch's own random state: whoever recomputes puts it back first
        base = draw_seed(torch.default_generator)
        rows = tensor.shape[0] // num_inputs
        for place, number in enumerate(self._numbers):
            generator = torch.Generator(self._device).manual_seed((base + number) % 2**63)
            its = slice(place * rows, (place + 1) * rows)
            part = tensor[its]
            of_part = (
                arg[its] if getattr(arg, "shape", None) == tensor.shape else arg for arg in args
            )
            # drawn apart: a fill goes in the order of memory, in which one input alone may differ
            drawn = torch.empty(part.shape, dtype=part.dtype, device=part.device)
            part.copy_(func(drawn, *of_part, generator=generator, **kwargs))
        return tensor
