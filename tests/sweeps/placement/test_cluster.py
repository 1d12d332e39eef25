"""What a sweep takes from the environment of the process that it runs in; no Ray started."""

import json
from pathlib import Path

import pytest

from sweeps.placement import cluster

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@pytest.fixture
def in_job(monkeypatch):
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": {"working_dir": "gcs://package.zip"}}))


def test_workers_of_a_running_cluster_are_brought_the_packages(monkeypatch):
    monkeypatch.delenv(JOB, raising=False)
    folders = [Path(path) for path in cluster._runtime_env()["py_modules"]]
    assert [folder.name for folder in folders] == ["patchtrain", "sweeps"]
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_a_jobs_own_working_directory_is_not_overridden(in_job):
    assert cluster._runtime_env() is None


def test_a_job_without_working_directory_brings_the_packages(monkeypatch):
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": {}}))
    assert cluster._runtime_env() is not None


def test_results_of_a_job_outlive_its_working_directory(in_job):
    assert cluster.working_dir() == Path.home()


def test_results_lie_in_the_current_folder_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv(JOB, raising=False)
    monkeypatch.chdir(tmp_path)
    assert cluster.working_dir() == tmp_path


def test_workers_find_the_packages_of_a_clone(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    for _ in range(2):
        cluster._put_project_on_path()
    assert cluster.os.environ["PYTHONPATH"] == f"{cluster.ROOT}:/elsewhere"


def test_what_the_user_set_is_left(monkeypatch):
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    cluster.quieten()
    assert cluster.os.environ["RAY_AIR_NEW_OUTPUT"] == "1"
    assert cluster.os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
