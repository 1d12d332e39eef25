"""Builds the stub's two libraries with gcc, and starts processes on them.

python tests/cuda_stub/build.py SCRIPT ARGUMENTS...     runs SCRIPT on the stub
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class CannotBuild(Exception):
    """gcc or CUDA's headers are missing; says which."""


def build(folder: Path) -> None:
    """Build the libraries into `folder`, unless they are there and made of the sources of today;
    several processes may ask at once.

    Raises:
        CannotBuild: see there.
    """
    if shutil.which("gcc") is None:
        raise CannotBuild("gcc is not installed")
    headers = _cuda_headers()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        device, nvml = folder / "libcuda.so.1", folder / "nvml" / "libnvidia-ml.so.1"
        nvml.parent.mkdir(exist_ok=True)
        made_of, sources = folder / "sources", _sources()
        if not made_of.exists() or made_of.read_bytes() != sources:
            _compile("device.c", device, "libcuda.so.1", [HERE / "include", headers])
            _compile("nvml.c", nvml, "libnvidia-ml.so.1", [])
            made_of.write_bytes(sources)


def environment(
    folder: Path, *, nvml: bool = True, ops: bool = False, shared: bool = False
) -> dict[str, str]:
    """Return the environment of a process on the stub that was built into `folder`.

    Args:
        nvml: False leaves NVML's library out, as in a container for computing alone.
        ops: have Python import `cuda_stub.ops` at its start, in processes started from there, too.
        shared: all processes with this environment share one GPU; else each has its own.
    """
    libraries = [folder, folder / "nvml"] if nvml else [folder]
    paths = [ROOT, ROOT / "tests", os.environ.get("PYTHONPATH", "")]
    if ops:
        paths.insert(0, HERE / "site")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_")}
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    together = {"CUDA_STUB_SHARED": str(folder / "shared")} if shared else {}
    return {
        **kept,
        **together,
        "LD_PRELOAD": str(folder / "libcuda.so.1"),
        "LD_LIBRARY_PATH": os.pathsep.join([*map(str, libraries), inherited]),
        "CUDA_STUB": str(folder),
        "PYTHONPATH": os.pathsep.join(map(str, filter(None, paths))),
        "OMP_NUM_THREADS": "1",
    }


def _cuda_headers() -> Path:
    """Return the folder of CUDA's headers that torch's packages bring."""
    for package, below in (("nvidia.cu13", "include"), ("nvidia.cuda_runtime", "include")):
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for place in (found.submodule_search_locations or []) if found else []:
            if (Path(place) / below / "cuda_runtime_api.h").exists():
                return Path(place) / below
    raise CannotBuild("this build of torch brings no headers of CUDA")


def _sources() -> bytes:
    return b"".join(path.read_bytes() for path in sorted(HERE.rglob("*.[ch]")))


def _compile(source: str, library: Path, name: str, includes: Sequence[Path]) -> None:
    temporary = library.with_suffix(".new")
    command = ["gcc", "-O1", "-w", "-fPIC", "-shared", f"-Wl,-soname,{name}", "-o", temporary]
    command += [HERE / source, *(f"-I{folder}" for folder in includes), "-ldl"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise CannotBuild(f"gcc cannot compile {source}: {done.stderr.strip().splitlines()[0]}")
    temporary.rename(library)


def main(words: Sequence[str]) -> int:
    """Run a script on the stub; return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment(Path(folder), ops=True)).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
