"""What every trial must keep to, whichever of its parts is new: the checks that suites share.

Each fails with an AssertionError that says which rule was broken. A trial that several checks look
at is run once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.estimation.predict import estimate
from patchtrain.testing.trials import (
    Trained,
    first_loss,
    gradients,
    relative_error,
    resume,
    train,
)

MAX_GRADIENT_ERROR = 1e-6
"""Of chunks against one pass in double precision, where losses may still round to fp32."""


@lru_cache(maxsize=16)
def trained(config: TrialConfig) -> Trained:
    """Return what `train` says of `config`, run once for all checks of it."""
    return train(config)


def check_deterministic(config: TrialConfig) -> None:
    """Equal seeds give equal losses, weights and outputs; another seed gives others."""
    one, same = trained(config), train(config)
    assert one.losses == same.losses, "equal seeds give different losses"
    check_equal(one.weights, same.weights, "equal seeds give different weights")
    assert (one.outputs == same.outputs).all(), "equal seeds give different outputs"
    other = first_loss(replace(config, seed=config.seed + 1))
    assert other != one.losses[0], "another seed gives the same loss"


def check_resumes(config: TrialConfig) -> None:
    """A trial that goes on from a checkpoint ends with the weights of an uninterrupted one."""
    straight = trained(config)
    check_equal(straight.weights, resume(config, straight), "a resumed trial ends differently")


def check_estimate_exact(config: TrialConfig) -> None:
    """The estimate is the metered peak to the byte, with its phase and what it is for."""
    found, held = estimate(config), trained(config).held
    error = found.predicted_peak_bytes - held.num_bytes
    assert error == 0, f"predicted {found.predicted_peak_bytes} bytes, {error:+} beside the meter's"
    assert found.phase == held.phase
    assert {name: found.attribution[name] for name in held.by_category} == held.by_category


def check_leaves_nothing_behind(config: TrialConfig) -> None:
    """After a batch only parameters, gradients and the optimizer's state stay in memory, and what
    was there before the first batch.
    """
    left = trained(config).left_bytes
    assert not any(left), f"{max(left)} bytes stay alive after a batch is finished"


def check_chunks_change_no_gradient(config: TrialConfig) -> None:
    """Patches pushed through the backbone one at a time give the gradient of all at once."""
    expected = gradients(config)
    assert any(gradient.any() for gradient in expected), "no gradient reaches the network"
    error = relative_error(gradients(replace(config, patch_microbatch=1)), expected)
    assert error < MAX_GRADIENT_ERROR, f"patch_microbatch=1 changes the gradient by {error:.1e}"


def check_one_line(error: Exception, *mentioned: str) -> None:
    """The message is one line and has each of `mentioned`."""
    text = str(error)
    assert text, f"{type(error).__name__} without a message"
    assert "\n" not in text, f"a message of several lines: {text!r}"
    for part in mentioned:
        assert part in text, f"the message does not mention {part!r}: {text}"


def check_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], message: str) -> None:
    """Two networks have equal tensors of the same names."""
    assert list(one) == list(other), message
    for name, value in one.items():
        assert torch.equal(value, other[name]), f"{message} (first: {name})"
