"""Which trackers can be used, as checked before a sweep starts; none of them is needed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from patchtrain.errors import ConfigError
from sweeps.tracking.trackers import TRACKERS, check_tracker


class TestCheck:
    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch):
        specs = {name: SimpleNamespace(origin=f"/{name}/__init__.py") for name in TRACKERS}
        monkeypatch.setattr(importlib.util, "find_spec", specs.get)
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(api=SimpleNamespace(api_key="")))
        return specs

    def test_no_tracker_needs_nothing(self, installed):
        installed.clear()
        check_tracker(None)

    def test_an_unknown_tracker_is_refused_with_those_there_are(self):
        with pytest.raises(ConfigError, match=r"--tracker 'neptune' .* one of mlflow, wandb"):
            check_tracker("neptune")

    @pytest.mark.parametrize("name", TRACKERS)
    def test_a_missing_package_is_named_with_how_to_install_it(self, installed, name):
        del installed[name]
        with pytest.raises(ConfigError, match=rf"--tracker {name} .*pip install {name}") as caught:
            check_tracker(name)
        assert "\n" not in str(caught.value)

    def test_a_folder_of_the_package_s_name_is_no_package(self, installed):
        installed["wandb"] = SimpleNamespace(origin=None)
        with pytest.raises(ConfigError, match="not installed"):
            check_tracker("wandb")

    def test_wandb_without_a_key_is_refused_with_what_to_set(self):
        with pytest.raises(ConfigError, match=r"WANDB_API_KEY.*WANDB_MODE=offline"):
            check_tracker("wandb")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("WANDB_API_KEY", "0" * 40),
            ("WANDB_MODE", "offline"),
            ("WANDB_MODE", "disabled"),
            ("WANDB_SETUP_API_KEY_HOOK", "module.function"),
        ],
    )
    def test_wandb_with_a_key_or_without_need_of_one_is_accepted(self, monkeypatch, name, value):
        monkeypatch.setenv(name, value)
        check_tracker("wandb")

    def test_wandb_after_its_login_is_accepted(self, monkeypatch):
        logged_in = SimpleNamespace(api=SimpleNamespace(api_key="0" * 40))
        monkeypatch.setitem(sys.modules, "wandb", logged_in)
        check_tracker("wandb")

    def test_a_wandb_that_cannot_be_asked_counts_as_without_a_key(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
        with pytest.raises(ConfigError, match="no API key"):
            check_tracker("wandb")

    def test_mlflow_needs_no_settings(self):
        check_tracker("mlflow")


def test_checking_imports_neither_ray_nor_trackers():
    code = (
        "import sys, sweeps.tracking.trackers\n"
        "try: sweeps.tracking.trackers.check_tracker('neptune')\n"
        "except Exception: pass\n"
        "print({'ray', 'mlflow', 'wandb', 'tensorboardX'} & {*sys.modules})"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
