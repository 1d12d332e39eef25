"""Precisions that a device does not have are refused; fp32's meaning comes and goes."""

from __future__ import annotations

import pytest
import torch

from patchtrain.errors import ConfigError
from patchtrain.memory.precision import check_precision, fp32_precision
from patchtrain.testing.trials import tiny_trial
from patchtrain.trial_checks import check

CPU = torch.device("cpu")


def test_tf32_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"precision='tf32' needs a GPU.*use precision=fp32"):
        check(tiny_trial("classification", precision="tf32"))
    for precision in ("fp32", "bf16", "fp16"):
        check_precision(precision, CPU)


def test_an_error_puts_fp32_back():
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [one.fp32_precision for one in settings]
    with pytest.raises(KeyError), fp32_precision("tf32"):
        assert [one.fp32_precision for one in settings] == ["tf32", "tf32"]
        with fp32_precision("fp32"):
            assert [one.fp32_precision for one in settings] == ["ieee", "ieee"]
        assert [one.fp32_precision for one in settings] == ["tf32", "tf32"]
        raise KeyError
    assert [one.fp32_precision for one in settings] == before
