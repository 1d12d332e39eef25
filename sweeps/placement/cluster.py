"""Connects to a Ray cluster, or starts one here, quietly and with this project on the workers.

Knows nothing of trials.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchtrain.errors import ConfigError, one_line

ROOT = Path(__file__).resolve().parents[2]
"""Folder with the packages `patchtrain` and `sweeps`."""

_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
_MAX_TEMP_DIR_BYTES = 107 - len(_SOCKET)
"""Longest path of a folder in which Ray can make its sockets."""

_MAX_REASON = 400
"""Letters of what Ray says; it names versions late."""

_CONNECT_TIMEOUT_S = 10.0
_ASK_CLUSTER = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""A call that the head of every Ray cluster answers."""

_NODE_GROUP = "ray.io/node-group"
"""Label of nodes that an autoscaler started."""

_AUTOSCALER_STATUS = b"__autoscaling_status"
_NO_TYPE = "node_"
"""Beginning of the type that a node without one is listed with."""

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Ctrl-C ends the sweep at once: its state is on disk at all times
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # relative paths mean the same in workers
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # a single slow write is not worth a warning
    "TUNE_WARN_THRESHOLD_S": "10",
}
"""Environment that Ray reads at import and that workers inherit; values set before are kept."""

_SILENT = (
    "ray.tune.tune",  # reports failed trials at the end, each of which was reported already
    # these report that Tune's own state cannot be written, which nobody reads
    "ray.tune.execution.experiment_state",
    "ray.train._internal.storage",
    "ray.train._internal.syncer",
)
"""Loggers of Ray whose errors tell nothing new."""


def quieten() -> None:
    """Set what Ray reads from the environment; call it before Ray is imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def working_dir() -> Path:
    """Return the folder that relative paths of results start from.

    It is the current folder, except in a job that was submitted with a working directory: that is
    a copy, which Ray removes after the job, so results go to the home folder.
    """
    return Path.home() if _has_job_working_dir() else Path.cwd()


@contextmanager
def connected(address: str | None) -> Iterator[bool]:
    """Context: connected to the cluster at `address`, or to one that is started here meanwhile.

    The value of the context is whether the cluster was started here.

    Args:
        address: `host:port` or `auto`. None: the cluster that runs this job, or the one in
            RAY_ADDRESS; without either, a new one on this machine.

    Raises:
        ConfigError: no cluster answers at `address`.
    """
    import ray

    named = f"--address {address!r}"
    if address is None and os.environ.get("RAY_ADDRESS"):
        address = os.environ["RAY_ADDRESS"]
        named = f"RAY_ADDRESS={address}"
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    temp_dir = None
    if address is None:
        temp_dir = _short_temp_dir()
        _start_here(temp_dir)
    else:
        _join(address, named)
    try:
        yield address is None
    finally:
        ray.shutdown()
        if temp_dir is not None:
            shutil.rmtree(temp_dir, ignore_errors=True)


def starts_nodes() -> bool:
    """Return whether the connected cluster starts nodes of its own when there is no room.

    Autoscalers (KubeRay's, `ray up`'s) give each node the name of a group; the old one, which may
    not, writes down what types its nodes have. A cluster of `ray start` has neither.
    """
    import ray
    from ray.experimental.internal_kv import _internal_kv_get

    if any(_NODE_GROUP in node["Labels"] for node in ray.nodes()):
        return True
    status = json.loads(_internal_kv_get(_AUTOSCALER_STATUS) or b"{}")
    types = (status.get("autoscaler_report") or {}).get("active_nodes") or {}
    return any(not name.startswith(_NO_TYPE) for name in types)


def _start_here(temp_dir: str | None) -> None:
    import ray

    _put_project_on_path()
    try:
        ray.init(
            address="local",  # else Ray joins the cluster that was last started on this machine
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            _temp_dir=temp_dir,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"Ray cannot start on this machine ({one_line(error, 300)}); set RAY_TMPDIR to a short "
            "path of a folder that can be written, and HOME to one that can be"
        ) from None


def _short_temp_dir() -> str | None:
    """Return a folder for Ray's sockets if the usual one has too long a path for them; None: the
    usual one.

    Raises:
        ConfigError: the usual one is too long, and there is no other.
    """
    usual = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(os.fsencode(usual)) <= _MAX_TEMP_DIR_BYTES:
        return None
    with suppress(OSError):
        return tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    raise ConfigError(
        f"TMPDIR={usual}: has more than {_MAX_TEMP_DIR_BYTES} bytes, too long for the sockets that "
        "Ray makes in it; set RAY_TMPDIR to a folder with a short path"
    )


def _join(address: str, named: str) -> None:
    """Connect to the cluster at `address`, which the user gave as `named`."""
    import ray

    _check_answers(address, named)
    try:
        ray.init(
            address=address,
            runtime_env=_runtime_env(),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refused(named, str(error)) from None


def _put_project_on_path() -> None:
    """Make sure that workers started from here find the packages, installed or not."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, paths)])


def _runtime_env() -> dict[str, list[str]] | None:
    """Return the runtime environment that brings the packages to workers of a running cluster.

    None inside a job that was submitted with a working directory: its workers have the packages.
    """
    if _has_job_working_dir():
        return None
    return {"py_modules": [str(ROOT / "patchtrain"), str(ROOT / "sweeps")]}


def _has_job_working_dir() -> bool:
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return "working_dir" in (job.get("runtime_env") or {})


def _check_answers(address: str, named: str) -> None:
    """Check that something listens at `address`; Ray itself would try for minutes.

    Raises:
        ConfigError: nothing does, or `address` is malformed.
    """
    if address in ("auto", "local"):
        return
    if address.startswith("ray://"):  # Tune would run the part of this process on the cluster
        raise ConfigError(
            f"{named} is an address for Ray's client, which cannot run a sweep; "
            "use `ray job submit`, or give host:port on a machine of the cluster"
        )
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{named} is the URL of a cluster's dashboard, for `ray job submit --address`; to run "
            "from here give the head's host:port, by default port 6379"
        )
    host, separator, port = address.rpartition(":")
    if not (separator and host and port.isdecimal() and int(port) < 2**16):
        raise ConfigError(f"{named} is not an address; write host:port, e.g. 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _no_answer(named, str(error)) from None
    if not (os.environ.get("RAY_USE_TLS") == "1" or _is_ray(address)):
        raise _no_answer(named, "something else listens there")


def _is_ray(address: str) -> bool:
    import grpc  # type: ignore[import-untyped]  # of ray[default]

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(_ASK_CLUSTER)
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_TIMEOUT_S)
            ask(b"", timeout=_CONNECT_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            return False
        except grpc.RpcError as error:  # it may want a token, which Ray will send
            return error.code() not in (
                grpc.StatusCode.UNIMPLEMENTED,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.UNAVAILABLE,
            )
    return True


def _no_answer(named: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{named}: no Ray cluster answers ({_one_line(reason)}); start one with "
        f"`ray start --head`, or {_leave_out(named)} to use this machine"
    )


def _refused(named: str, reason: str) -> ConfigError:
    """Return the error for a cluster that answers, but does not let this process in."""
    told = _one_line(reason)
    low = told.lower()
    if "version mismatch" in low:
        remedy = "install the same versions of Ray and Python here and on the cluster"
    elif any(word in low for word in ("token", "unauthenticated", "authentic")):
        remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's token"
    elif "tls" in low or "certificate" in low:
        remedy = "set RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT as there"
    elif "same machine" in low or "no node" in low or "raylet" in low:
        remedy = "run this on a machine of the cluster, or use `ray job submit`"
    else:
        remedy = f"see `ray status`, or {_leave_out(named)} to use this machine"
    return ConfigError(f"{named}: the Ray cluster there refuses ({told}); {remedy}")


def _leave_out(named: str) -> str:
    return "leave --address out" if named.startswith("--") else "unset RAY_ADDRESS"


def _one_line(reason: str) -> str:
    return " ".join(reason.split())[:_MAX_REASON] or "no reason given"
