"""`encode_aside`: a training pass from which nothing is learned, to see where gradients come from.

Shapes: N inputs of the pass; F features of an input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from patchtrain.step.encoder import (
    Encoded,
    Encoder,
    Inputs,
    SecondRun,
    chunks_of,
    statistics_kept,
)
from patchtrain.step.randomness import draw_seed


class Aside(Encoded):
    """Features of a training pass whose gradient is kept, on the host."""

    _gradient: Tensor | None = None

    def __init__(self, encoder: Encoder, features: Tensor, run: SecondRun) -> None:
        super().__init__(encoder, features, None)
        self._run = run

    def backward(self, loss: Tensor) -> None:
        """Keep the gradient of `loss`, a scalar made from `features`."""
        with self._encoder.guard.doing("head"):
            loss.backward()
        gradient, self.features.grad = self.features.grad, None
        assert gradient is not None, "the loss does not depend on the features"
        self.backward_from(gradient)

    def backward_from(self, gradient: Tensor) -> None:
        """Keep dL/dfeatures [N, F]."""
        with self._encoder.guard.on_host():
            self._gradient = gradient.detach().to("cpu", copy=True)

    def norm_from(self, inputs: range) -> float:
        """Return the norm of the backbone's gradient that comes from some `inputs` of the first
        group alone; no gradient stays.
        """
        assert self._gradient is not None, "there was no backward pass"
        encoder, run = self._encoder, self._run
        group = run.inputs.group
        with encoder.guard.on_host():
            gradient = torch.zeros_like(self._gradient[:group])
            gradient[inputs.start : inputs.stop] = self._gradient[inputs.start : inputs.stop]
        size = min(group, max(chunk.stop - chunk.start for chunk in run.chunks))
        for chunk in encoder.representative(chunks_of(group, size)):
            with statistics_kept(encoder.backbone):
                part = encoder.forward(run.inputs, chunk, run.seed)
            with encoder.recomputing():
                _Handed.apply(part, [gradient[chunk.start : chunk.stop].to(part)]).backward()
            del part
        found = [p for p in encoder.backbone.parameters() if p.grad is not None]
        norms = [torch.linalg.vector_norm(p.grad) for p in found]
        for parameter in found:
            parameter.grad = None
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def encode_aside(encoder: Encoder, inputs: Inputs, generator: torch.Generator) -> Aside:
    """Return the features of the same pass as `Encoder.encode_for_training` with a generator in the
    same state; running statistics stay.
    """
    seed = draw_seed(generator)
    chunks = chunks_of(inputs.num, encoder.chunk_size(inputs.num, inputs.group))
    with statistics_kept(encoder.backbone):
        features = encoder.encode_in_training(inputs, seed)
    return Aside(encoder, features.requires_grad_(), SecondRun(inputs, chunks, seed))


class _Handed(torch.autograd.Function):
    """A scalar whose gradient by `features` is the one tensor in `gradients`, which nothing else
    holds meanwhile: in an ordinary backward pass the first operation frees it, too.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, gradients: list[Tensor]) -> Tensor:
        ctx.gradients = gradients
        return features.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Tensor, None]:
        return ctx.gradients.pop(), None
