"""`export`: every figure and table as files, for papers and for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from analysis.commands.inputs import add_runs, out_of, read_runs
from analysis.errors import InputError
from analysis.load import TRIALS


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write the figures as PNG and SVG, the tables as CSV, Markdown and LaTeX, and the "
        "trials with an on_front column as Parquet and CSV",
    )
    add_runs(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write to (default: RUN_DIR/export)",
    )
    parser.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Write the files and name them."""
    run = read_runs(options)
    out = out_of(options, run, "export")
    for folder in run.folders.values():
        if folder.is_local and (out / TRIALS).resolve() == Path(folder.path_of(TRIALS)).resolve():
            raise InputError(
                f"--out={out}: is the run itself, whose {TRIALS} must stay; give another folder"
            )
    from analysis.export import exported
    from analysis.files import write_files

    contents = exported(run)
    write_files(out, contents)
    print(f"{out}: {', '.join(contents)}")
    return 0
