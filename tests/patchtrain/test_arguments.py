"""Command lines: empty arguments, unknown options, `--version`, and output whose reader is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import patchtrain
from patchtrain.cli import main

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["train", "x.yaml", "--out", ""], "'' after --out is empty"),
        (["train", "x.yaml", "--out", "  "], "' ' after --out is empty"),
        (["train", "", "--out", "o"], "'' after train is empty"),
        (["train", "x.yaml", "--out="], "'--out=' is empty"),
        (["evaluate", "o", "--data", ""], "'' after --data is empty"),
        (["estimate", "x.yaml", "--set=data_dir="], "--set 'data_dir=' is empty"),
    ],
)
def test_empty_arguments_are_refused(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("epochs: 1\n")
    assert main(arguments) == 2
    assert named in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize(
    "option, hint",
    [
        (["--epochs", "1"], "(epochs is a setting of a trial: --set epochs=1)"),
        (["--epochs=1"], "--set epochs=1)"),
        (["--patch-size", "64"], "--set patch_size=64)"),
    ],
)
def test_options_that_are_settings_point_to_set(option, hint, capsys):
    assert main(["train", "x.yaml", "--out", "o", *option]) == 2
    assert hint in capsys.readouterr().err
    assert main(["train", "x.yaml", "--out", "o", "--bogus", "1"]) == 2
    assert "--set" not in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"patchtrain {patchtrain.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "patchtrain.cli", "--help"],
        ["-m", "patchtrain.cli", "train", "--help"],
        ["sweeps/panda_budget.py", "--help"],
        ["-m", "patchtrain.cli", "train", "x.yaml", "--bogus"],
        ["sweeps/panda_budget.py", "--bogus"],
    ],
)
def test_help_and_wrong_options_import_no_torch(command):
    script = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(script, cwd=_ROOT, capture_output=True, text=True, check=False)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in imported
    assert not imported & {"torch", "ray", "torchvision", "timm"}


def _run(code: str, **environment) -> subprocess.CompletedProcess[bytes]:
    """Run `code` with an stdout that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-c", code],
            stdout=writer,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            check=False,
        )
    finally:
        os.close(writer)


_PRINTS = """
import sys
from patchtrain.output import unbroken_output
with unbroken_output():
    for _ in range(3):
        print("line", flush=True)
    {more}
    print("done", file=sys.stderr)
"""


@pytest.mark.parametrize(
    "more",
    [
        "pass",
        "from rich.console import Console; Console(force_terminal=True).print('[b]x', '│')",
        "from rich.progress import track; list(track(range(3)))",
    ],
    ids=["print", "rich", "progress bar"],
)
def test_a_reader_that_went_away_does_not_end_the_run(more):
    done = _run(_PRINTS.format(more=more))
    assert (done.returncode, done.stderr) == (0, b"done\n")


def test_letters_that_the_terminal_lacks_are_escaped():
    code = "from patchtrain.output import unbroken_output\nwith unbroken_output(): print('│ é')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert done.stdout == b"\\u2502 \\xe9\n"
