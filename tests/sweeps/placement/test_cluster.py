"""What stands between a sweep and the head of its cluster is named, with the remedy."""

from __future__ import annotations

import pytest
import ray
from ray.exceptions import AuthenticationError

from patchtrain.errors import ConfigError
from sweeps.placement import cluster

_VERSIONS = """Version mismatch: The cluster was started with:
    Ray: 2.60.0
    Python: 3.11.7
This process on node 10.0.0.1 was started with:
    Ray: 2.61.0
    Python: 3.11.7
"""


def _said(address, monkeypatch, error=None) -> str:
    """Return what is said when Ray itself raises `error`."""

    def refuse(**options):
        raise error

    if error is not None:
        monkeypatch.setattr(cluster, "_check_answers", lambda *arguments: None)
        monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError) as told, cluster.connected(address):
        pass
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    "error, named",
    [
        (RuntimeError(_VERSIONS), ("Ray: 2.60.0", "Ray: 2.61.0", "install the same versions")),
        (AuthenticationError("InvalidAuthToken: wrong token"), ("RAY_AUTH_TOKEN",)),
        (ConnectionError("TLS handshake failed"), ("RAY_TLS_CA_CERT",)),
        (RuntimeError("no node with this address"), ("a machine of the cluster",)),
        (ValueError("odd"), ("(odd)", "leave --address out")),
    ],
)
def test_a_cluster_that_refuses_says_why(monkeypatch, error, named):
    said = _said("10.0.0.1:6379", monkeypatch, error)
    assert said.startswith("--address '10.0.0.1:6379': the Ray cluster there refuses (")
    assert all(each in said for each in named)


def test_an_address_from_the_environment_is_named_as_such(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = _said(None, monkeypatch)
    assert said.startswith("RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers (")
    assert said.endswith("or unset RAY_ADDRESS to use this machine")
    assert "--address" not in said


@pytest.mark.parametrize("from_environment", [True, False])
@pytest.mark.parametrize("url", ["http://127.0.0.1:8265", "https://ray.example.org"])
def test_the_url_of_the_dashboard_is_told_apart(monkeypatch, url, from_environment):
    if from_environment:
        monkeypatch.setenv("RAY_ADDRESS", url)
    said = _said(None if from_environment else url, monkeypatch)
    assert "is the URL of a cluster's dashboard" in said
    assert "by default port 6379" in said
