"""`patchtrain doctor` without a GPU, and on the stub device."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from cuda_stub.build import build, environment

from patchtrain import cli
from patchtrain.doctor import command
from patchtrain.doctor.checks import Check
from patchtrain.doctor.finding import Finding, failed, passed, skipped, warned

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@without_gpu
def test_without_a_gpu_it_checks_what_needs_none_and_says_so(capsys, tmp_path):
    assert cli.main(["doctor", "--out", str(tmp_path / "found.json")]) == 2
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["gpu"] == "no GPU" and "data workers" in found["checks"]
    told = capsys.readouterr().out
    assert "platform" in told and "data workers" in told and "context" not in told
    assert "no usable GPU: device='cuda:0' is not there" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "cpu"], "--device 'cpu' is no GPU; use cuda or cuda:N"),
        (["--device", "cuda:x"], "--device 'cuda:x' is no GPU"),
        (["--out", "/dev/null/x.json"], "--out /dev/null"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments_are_one_line(words, told, capsys):
    assert cli.main(["doctor", *words]) == 2
    captured = capsys.readouterr()
    assert told in captured.err and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize(
    ("findings", "status", "told"),
    [
        ([passed("fine"), warned("slow", "wait")], 0, "2 checks passed: the budget holds"),
        ([passed("fine"), skipped("no values")], 0, "1 checks passed; 1 could not be judged"),
        ([failed("over", "report"), passed("fine")], 1, "1 of 2 checks failed: check 0"),
    ],
)
def test_the_status_says_whether_a_check_failed(findings, status, told, capsys):
    by_name = {f"check {number}": found for number, found in enumerate(findings)}
    assert command._conclude(by_name) == status
    assert told in capsys.readouterr().out


def run_on_stub(tmp_path, *words, script=""):
    build(tmp_path / "stub")
    own = {"PATCHTRAIN_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    code = f"import sys\n{script}\nfrom patchtrain import cli\nsys.exit(cli.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", *words],
        env={**environment(tmp_path / "stub", ops=True, shared=True), **own},
        capture_output=True,
        text=True,
    )


FULL = "from cuda_stub.books import BOOKS\nBOOKS.other_bytes = BOOKS.total_bytes - 2 * 2**30"


@pytest.mark.cuda_stub
@pytest.mark.slow
def test_too_little_free_memory_judges_nothing(stub, tmp_path):
    done = run_on_stub(tmp_path, script=FULL)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("nothing judged: cuda:0 has 2.147GB") and "3GB" in done.stdout
    done = run_on_stub(tmp_path, "--device", "cuda:9")
    assert done.returncode == 2 and "failed" not in done.stdout
    assert "1 CUDA devices found" in done.stdout


@pytest.mark.cuda_stub
@pytest.mark.slow
def test_what_it_measures_is_written_without_paths_and_kept_for_estimates(stub, tmp_path):
    (tmp_path / "out").mkdir()
    done = run_on_stub(tmp_path, "--quick", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.startswith("Stub-GPU_580.00.stub_")
    told = json.loads(path.read_text())
    assert {found["status"] for found in told["checks"].values()} <= {"ok", "warning"}
    assert str(tmp_path) not in path.read_text()
    assert told["facts"]["context_bytes"] == 500 * 2**20
    kept = json.loads(next((tmp_path / "cache" / "gpus").iterdir()).read_text())
    assert kept == told["facts"]


def test_a_check_without_a_gpu_says_what_it_needs():
    check = Check(name="x", run=lambda device: passed("fine"))
    assert check.needs_gpu and not check.is_quick and not check.measures
    assert isinstance(check.run(torch.device("cpu")), Finding)
