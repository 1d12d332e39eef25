"""Which errors speak about a configuration, and which about the world around it."""

from __future__ import annotations

import errno

import pytest
import torch

from patchtrain.errors import ConfigError, DataError
from patchtrain.faults import CONFIGURATION, ENVIRONMENT, failed_by


@pytest.mark.parametrize(
    "error",
    [
        DataError("a.png: cannot be decoded"),
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        MemoryError(),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA driver error: unknown error"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."),
        RuntimeError("unable to write to file </torch_7>: No space left on device (28)"),
    ],
)
def test_the_environment_is_to_blame(error):
    assert failed_by(error) == ENVIRONMENT


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("patch_size=7 does not divide image_size=512"),
        ValueError("bad shape"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ZeroDivisionError(),
        torch.OutOfMemoryError("x"),
    ],
)
def test_the_configuration_is_to_blame(error):
    assert failed_by(error) == CONFIGURATION
