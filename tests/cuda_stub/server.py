"""Runs functions on the stub device, each in a process of its own that is forked with all imported.

`Stub` is the side of the tests; `python -m cuda_stub.server` the other, which reads one JSON line a
function and answers with one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cuda_stub.build import build, environment


class Failed(AssertionError):
    """A function raised an error, crashed or took too long on the stub."""


class Stub:
    """A stub device for tests.

    Args:
        folder: where to build it.
        nvml: False: the library of NVML is missing.

    Raises:
        CannotBuild: gcc or CUDA's headers are missing.
    """

    def __init__(self, folder: Path, *, nvml: bool = True) -> None:
        build(folder)
        self._environment = environment(folder, nvml=nvml)
        self._server: subprocess.Popen[str] | None = None

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        device: Mapping[str, int] | None = None,
        limit_s: float = 60,
    ) -> Any:
        """Return what `function`, of a test's module, returns on the stub, as JSON values.

        Args:
            device: fields of the device's books to set before.

        Raises:
            Failed: see there.
        """
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "cuda_stub.server"],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._server.stdin and self._server.stdout
        path = function.__code__.co_filename
        asked = [path, function.__qualname__, arguments, dict(device or {}), limit_s]
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """End the processes."""
        if self._server is not None and self._server.stdin:
            self._server.stdin.close()
            self._server.wait()


def serve() -> None:
    """Answer what is asked on standard input, line by line."""
    import torch  # noqa: F401  # forked with the process

    import patchtrain.memory.guards
    import patchtrain.trainer  # noqa: F401

    answers = os.dup(1)
    os.dup2(2, 1)  # what functions print goes elsewhere
    for line in sys.stdin:
        path, name, arguments, device, limit_s = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            signal.alarm(int(limit_s))
            _run(writing, path, name, arguments, device)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        answer = said or json.dumps({"error": _ending(status)})
        os.write(answers, answer.encode() + b"\n")


def _run(writing: int, path: str, name: str, arguments: list[Any], device: dict[str, int]) -> None:
    """Run one function in this process, write its answer, and end."""
    try:
        from cuda_stub.books import BOOKS

        _use_own_folders()
        BOOKS.set(**device)
        spec = importlib.util.spec_from_file_location("on_the_stub", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["on_the_stub"] = module
        spec.loader.exec_module(module)
        answer = {"result": getattr(module, name)(*arguments)}
        text = json.dumps(answer)
    except BaseException:
        text = json.dumps({"error": traceback.format_exc()})
    os.write(writing, text.encode())
    os._exit(0)


def _use_own_folders() -> None:
    """Keep nothing where the next function finds it."""
    folder = Path(os.environ["CUDA_STUB"]) / "runs" / str(os.getpid())
    folder.mkdir(parents=True)
    os.environ["PATCHTRAIN_CACHE"] = os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit status {os.WEXITSTATUS(status)}"


if __name__ == "__main__":
    serve()
