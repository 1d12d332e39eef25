"""`patchtrain doctor`: runs the checks, says what they found, and keeps what was measured.

Exit status: 0 all good (warnings allowed); 1 a check failed; 2 no usable GPU; 3 too little free
memory, nothing was judged.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from patchtrain import __version__
from patchtrain.device import resolve_device
from patchtrain.doctor.checks import CHECKS, Check
from patchtrain.doctor.finding import FAILED, SKIPPED, Finding
from patchtrain.doctor.runner import run_check
from patchtrain.errors import ConfigError
from patchtrain.files import atomic_path, check_replaceable, check_writable
from patchtrain.memory.driver import Gpu, driver_version, facts_of
from patchtrain.memory.facts import ASSUMED, PAGE_BYTES, GpuFacts, remember
from patchtrain.units import format_bytes

EXIT_GOOD, EXIT_FAILED, EXIT_NO_GPU, EXIT_NO_ROOM = range(4)

NEEDED_FREE_BYTES = 3 * 10**9
"""The checks need this much of the GPU; `auto` is checked where 4 GB are free as well."""

_ASKING_S = 60
"""Longest time for a process to say how much memory is free."""

Findings = dict[str, Finding]
"""By the name of the check."""


def doctor(device_name: str, *, is_quick: bool, out: Path | None) -> int:
    """Check the GPU `device_name` and print a line for each check; return the exit status.

    Args:
        is_quick: leave out the checks that train for long.
        out: file for the findings as JSON, or a folder for a file named after GPU, driver and
            torch; None writes none.

    Raises:
        ConfigError: `device_name` is no CUDA device's name, or `out` cannot be written.
    """
    if not re.fullmatch(r"cuda(:\d+)?", device_name):
        raise ConfigError(f"--device {device_name!r} is no GPU; use cuda or cuda:N")
    if out is not None:
        check_writable(out if out.is_dir() else out.parent)
        if not out.is_dir():
            check_replaceable(out)
    started = time.perf_counter()
    checks = [check for check in CHECKS if check.is_quick or not is_quick]
    try:
        gpu = Gpu(resolve_device(device_name))
    except ConfigError as error:
        findings = _run([check for check in checks if not check.needs_gpu], device_name)
        file = None if out is None or out.is_dir() else out  # a folder collects one file per GPU
        _write(file, "no GPU", findings, None, time.perf_counter() - started)
        print(f"no usable GPU: {error}")
        return EXIT_NO_GPU
    free_bytes = _free_bytes(gpu)
    if free_bytes is not None and free_bytes < NEEDED_FREE_BYTES:
        print(
            f"nothing judged: {device_name} has {format_bytes(free_bytes)} free of "
            f"{format_bytes(gpu.total_bytes)}, and the checks need "
            f"{format_bytes(NEEDED_FREE_BYTES)}; end what runs on it, or give another --device"
        )
        return EXIT_NO_ROOM
    num_measuring = 1 + max(place for place, check in enumerate(checks) if check.measures)
    findings = _run(checks[:num_measuring], device_name)
    facts = _facts(device_name, findings)
    if facts is not None:
        remember(facts)  # the other checks count with it
    findings |= _run(checks[num_measuring:], device_name)
    gpu_name = torch.cuda.get_device_name(gpu.device)
    _write(out, gpu_name, findings, facts, time.perf_counter() - started)
    return _conclude(findings)


def _free_bytes(gpu: Gpu) -> int | None:
    """Return what the GPU has left; None if nobody says. This process makes no context, which would
    stand in the way of the checks.
    """
    unused_bytes = gpu.unused_bytes()
    if unused_bytes is not None:
        return unused_bytes
    asked = f"import torch; print(torch.cuda.mem_get_info({gpu.device.index or 0})[0])"
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            [sys.executable, "-c", asked], capture_output=True, text=True, timeout=_ASKING_S
        )
        return int(done.stdout)
    return None


def _run(checks: Sequence[Check], device_name: str) -> Findings:
    findings: Findings = {}
    width = max(len(check.name) for check in CHECKS)
    for check in checks:
        print(f"{check.name:<{width}}  ", end="", flush=True)
        findings[check.name] = found = run_check(check, device_name)
        print(f"{found.status:<8}{found.told}", flush=True)
        if found.remedy:
            print(f"{'':<{width + 10}}{found.remedy}", flush=True)
    return findings


def _conclude(findings: Findings) -> int:
    bad = [name for name, found in findings.items() if found.status == FAILED]
    unknown = sum(found.status == SKIPPED for found in findings.values())
    if bad:
        print(f"{len(bad)} of {len(findings)} checks failed: {', '.join(bad)}")
        return EXIT_FAILED
    told = f"; {unknown} could not be judged" if unknown else ""
    print(f"{len(findings) - unknown} checks passed{told}: the budget holds on this GPU")
    return EXIT_GOOD


def _facts(device_name: str, findings: Findings) -> GpuFacts | None:
    """Return what was measured of the GPU; None if its context could not be measured."""
    measured = _figures(findings, "context")
    if not measured.get("is_measured"):
        return None
    properties = torch.cuda.get_device_properties(resolve_device(device_name))
    known = facts_of(resolve_device(device_name))
    workspace = _figures(findings, "workspace").get("workspace_bytes", known.workspace_bytes)
    segments = _figures(findings, "expandable segments")
    return replace(
        ASSUMED,
        name=properties.name,
        driver=driver_version(),
        torch=str(torch.__version__),
        total_bytes=properties.total_memory,
        context_bytes=max(measured["by_precision"].values()),
        context_by_precision=measured["by_precision"],
        workspace_bytes=workspace,
        page_bytes=segments.get("page_bytes") or PAGE_BYTES,
        expandable_segments=segments.get("expandable_segments", False),
        lists_process=measured["lists_process"],
    )


def _figures(findings: Findings, name: str) -> Mapping[str, Any]:
    return findings[name].figures if name in findings else {}


def _write(
    out: Path | None, gpu: str, findings: Findings, facts: GpuFacts | None, seconds: float
) -> None:
    """Write the findings to `out` as JSON and print the path; None writes nothing."""
    if out is None:
        return
    software = {"driver": driver_version(), "torch": torch.__version__, "patchtrain": __version__}
    content = {
        "gpu": gpu,
        **software,
        "seconds": round(seconds, 1),
        "facts": None if facts is None else facts.to_json(),
        "checks": {name: found.to_json() for name, found in findings.items()},
    }
    path = out
    if out.is_dir():
        words = (gpu, str(software["driver"]), torch.__version__)
        name = "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", word) for word in words)
        path = out / f"{name}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written: {path}")
