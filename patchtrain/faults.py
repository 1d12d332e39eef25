"""What made a trial fail: its configuration, which would fail again, or the world around it."""

from __future__ import annotations

import re

from patchtrain.errors import DataError

CONFIGURATION, ENVIRONMENT = "configuration", "environment"

_AROUND = re.compile(
    r"CUDA (error|driver)|cuDNN error|CUBLAS|NVML|NCCL|DataLoader worker|shared memory|/dev/shm|"
    r"Bus error|No space left|Input/output error|Stale file handle|Too many open files",
    re.IGNORECASE,
)
"""In the messages of libraries that raise RuntimeError for everything."""

_OF_THE_PROGRAM = re.compile(r"device-side assert|invalid argument", re.IGNORECASE)


def failed_by(error: BaseException) -> str:
    """Return `ENVIRONMENT` if `error` says nothing about the configuration of the trial that it
    ended: data or a disk that could not be read for a while, a driver, a full /dev/shm.
    """
    if isinstance(error, (DataError, OSError, MemoryError)):
        return ENVIRONMENT
    text = str(error)
    if isinstance(error, RuntimeError) and _AROUND.search(text):
        return CONFIGURATION if _OF_THE_PROGRAM.search(text) else ENVIRONMENT
    return CONFIGURATION
