"""What kind of machine this is, as far as its GPU's memory is concerned.

Looks at files of the operating system only: asks neither CUDA nor the driver.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_KERNEL = Path("/proc/version")
_WSL_DEVICE = Path("/dev/dxg")
_TEGRA_RELEASE = Path("/etc/nv_tegra_release")
_BOARD = Path("/sys/firmware/devicetree/base/compatible")
_CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CONTAINER_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")
"""The first is podman's."""


def is_wsl() -> bool:
    """Return whether this is Linux inside of Windows, whose driver maps memory in its own way."""
    return _WSL_DEVICE.exists() or "microsoft" in _text(_KERNEL).lower()


def is_tegra() -> bool:
    """Return whether this is a Jetson, whose GPU uses the memory of the host."""
    return _TEGRA_RELEASE.exists() or "tegra" in _text(_BOARD).lower()


def in_container() -> bool:
    """Return whether this process runs in a container, with process numbers of its own."""
    named = any(name in os.environ for name in _CONTAINER_VARIABLES)
    return named or any(path.exists() for path in _CONTAINER_FILES)


def _text(path: Path) -> str:
    """Return what a file says; nothing if it cannot be read."""
    with suppress(OSError):
        return path.read_bytes().decode(errors="replace")
    return ""
