"""`export`: every figure and table as files, for papers and for other programs."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.inputs import add_runs, keep_inputs, local_path, out_of, read_runs


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
        type=local_path,
        metavar="DIR",
        help="folder to write to (default: RUN_DIR/export)",
    )
    parser.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Write the files and name them."""
    run = read_runs(options)
    out = out_of(options, run, "export")
    from analysis.page.export import exported
    from analysis.page.files import write_files

    contents = exported(run)
    keep_inputs(options, run, out, contents)
    write_files(out, contents)
    print(f"{out}: {', '.join(contents)}")
    return 0
