"""`python -m analysis COMMAND`: the commands and their exit status.

Exit status: 0 done; 1 if nothing fits, or a comparison comes out worse; 2 for bad input, with one
line on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from analysis.commands import best, compare, export, paper, report, show
from analysis.errors import InputError
from patchtrain.output import unbroken_output


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = _parser().parse_args(arguments)
    with unbroken_output():  # `| head` stops reading
        try:
            return int(options.command(options))
        except InputError as error:
            print(" ".join(str(error).split()), file=sys.stderr)
            return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m analysis", description="Turn a sweep's results into answers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (report, best, compare, show, export, paper):
        command.add(commands)
    return parser
