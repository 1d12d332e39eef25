"""Random numbers of a training pass: dropout that does not depend on which inputs run together.

Inside `PerInputRandomness` every random operation draws for each input by itself, from a seed of
the pass and the input's number. So a pass cut into chunks draws what the whole pass draws, and a
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
        if func is torch.ops.aten.native_dropout.default:
            return self._dropout(*args)
        drawn_in_place = func._schema.name.endswith("_")
        if drawn_in_place and kwargs.get("generator") is None:
            tensor = args[0]
            if tensor.ndim and tensor.shape[0] and tensor.shape[0] % len(self._numbers) == 0:
                self._draw(func, tensor, args[1:], kwargs)
                return tensor
        return func(*args, **kwargs)

    def _dropout(self, tensor: Tensor, p: float, train: bool) -> tuple[Tensor, Tensor]:
        """Return what the fused kernel returns: the output and the mask of what was kept."""
        mask = torch.empty_like(tensor, dtype=torch.bool)
        if not train or tensor.shape[0] % len(self._numbers):
            mask.bernoulli_(1.0 - p if train else 1.0)
        else:
            self._draw(torch.ops.aten.bernoulli_.float, mask, (1.0 - p,), {})
        scale = 1.0 / (1.0 - p) if train and p < 1 else float(not train)
        return (tensor * mask).mul_(scale), mask

    def _draw(self, func: Any, tensor: Tensor, args: tuple[Any, ...], kwargs: Any) -> None:
        """Fill `tensor`, whose first axis is N or a multiple of it, input by input."""
        # from torch's own random state: whoever recomputes puts it back first
        base = draw_seed(torch.default_generator)
        rows = tensor.shape[0] // len(self._numbers)
        for place, number in enumerate(self._numbers):
            generator = torch.Generator(self._device).manual_seed((base + number) % 2**63)
            part = tensor[place * rows : (place + 1) * rows]
            # drawn apart: a fill goes in the order of memory, in which one input alone may differ
            drawn = torch.empty(part.shape, dtype=part.dtype, device=part.device)
            part.copy_(func(drawn, *args, generator=generator, **kwargs))
