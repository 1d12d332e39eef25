"""A sweep from start to end: check, connect, search, report. Every sweep script ends in `main`.

Exit status: 0 done; 1 something went wrong while running, or trials are to run again; 2 bad input,
with one line on stderr and nothing written; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from signal import SIGINT
from typing import TYPE_CHECKING

from patchtrain.errors import ConfigError, DataError, one_line
from patchtrain.interrupt import as_stopped, stoppable
from patchtrain.output import unbroken_output
from sweeps.errors import Unfinished
from sweeps.options import parser
from sweeps.placement import cluster
from sweeps.presets import Sweep

if TYPE_CHECKING:
    from sweeps.results.store import RunFolder


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Run the sweep that the command line asks for; return the exit status."""
    with unbroken_output(), stoppable():
        return _status(sweep, arguments)


def _status(sweep: Sweep, arguments: Sequence[str] | None) -> int:
    cluster.quieten()
    folder = None
    try:
        options = parser(sweep).parse_args(arguments)
        # torch takes seconds to import: not for --help or a wrong option, and Ctrl-C counts here
        from sweeps.checks import check_trials
        from sweeps.plan import make_plan, resumed
        from sweeps.progress import say_start
        from sweeps.results.store import RunFolder
        from sweeps.stages import run

        plan = make_plan(sweep, options)
        folder = RunFolder(plan.out)
        folder.check(options.resume, plan.description())
        if options.resume:
            plan = resumed(plan, options, folder.description())
        data = check_trials(plan)
        if options.resume:
            data.inputs.check_same(folder.inputs_path, "--resume")
        for known in plan.known:
            data.inputs.check_same(known.run_dir / folder.inputs_path.name, "--warm-start")
        say_start(plan)
        # Ray takes SIGTERM for itself, and would end without a word
        with cluster.connected(options.address) as is_ours, stoppable(by_force=True):
            run(plan, folder, data, cluster_may_grow=not is_ours)
    except (ConfigError, DataError) as error:
        print(" ".join(f"{sweep.name}: {error}".split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        stopped = as_stopped(error)
        by = "" if stopped.number == SIGINT else f" by {stopped}"
        print(f"\nstopped{by}{_how_to_continue(folder, arguments)}", flush=True)
        return stopped.exit_status
    except Unfinished as error:
        _report(plan.out)
        print(" ".join(f"{sweep.name}: {error}".split()), file=sys.stderr)
        print(f"all finished trials are kept{_how_to_continue(folder, arguments)}", flush=True)
        return 1
    except Exception as error:
        print(f"{sweep.name}: {one_line(error)}", file=sys.stderr)
        if folder is not None and folder.is_begun:
            print(f"all finished trials are kept{_how_to_continue(folder, arguments)}", flush=True)
        return 1
    _report(plan.out)
    return 0


def _report(out: os.PathLike[str]) -> None:
    """Write the report and print the best trial of each budget; the sweep stands without it."""
    paths = filter(None, (str(cluster.ROOT), os.environ.get("PYTHONPATH")))
    command = [sys.executable, "-m", "analysis", "report", str(out)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    if done.returncode != 0:
        print(
            "the sweep is done, but its report failed; to try again: "
            f"python -m analysis report {out}",
            file=sys.stderr,
        )


def _how_to_continue(folder: RunFolder | None, arguments: Sequence[str] | None) -> str:
    """Return, as text, the command that continues the sweep; empty if nothing was begun."""
    if folder is None or not folder.is_begun:
        return ""
    words = [*sys.argv[:1], *(sys.argv[1:] if arguments is None else arguments)]
    command = shlex.join(["python", *words, *([] if "--resume" in words else ["--resume"])])
    return f"; continue with: {command}"
