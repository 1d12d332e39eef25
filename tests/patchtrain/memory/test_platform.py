"""What the files of the operating system say of a machine."""

from __future__ import annotations

import pytest

from patchtrain.memory import platform


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch, tmp_path):
    for name in ("_KERNEL", "_WSL_DEVICE", "_TEGRA_RELEASE", "_BOARD"):
        monkeypatch.setattr(platform, name, tmp_path / name)
    monkeypatch.setattr(platform, "_CONTAINER_FILES", (tmp_path / "dockerenv",))
    for name in platform._CONTAINER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def kinds():
    return platform.is_wsl(), platform.is_tegra(), platform.in_container()


def test_a_plain_machine_is_none_of_them(plain_machine):
    assert kinds() == (False, False, False)
    (plain_machine / "_KERNEL").write_text("Linux version 6.8.0-45-generic (buildd@lcy02)")
    assert kinds() == (False, False, False)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("_KERNEL", b"Linux version 5.15.153.1-microsoft-standard-WSL2", (True, False, False)),
        ("_WSL_DEVICE", b"", (True, False, False)),
        ("_TEGRA_RELEASE", b"# R36", (False, True, False)),
        ("_BOARD", b"nvidia,p3768\x00nvidia,tegra234\x00\xff", (False, True, False)),
        ("dockerenv", b"", (False, False, True)),
    ],
)
def test_each_kind_is_known_by_its_file(plain_machine, name, content, expected):
    (plain_machine / name).write_bytes(content)
    assert kinds() == expected


@pytest.mark.parametrize("name", ["container", "KUBERNETES_SERVICE_HOST"])
def test_a_container_is_known_by_its_variables(monkeypatch, name):
    monkeypatch.setenv(name, "some")
    assert kinds() == (False, False, True)
