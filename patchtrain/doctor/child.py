"""One check in a process of its own: `python -m patchtrain.doctor.child NAME DEVICE`.

Prints the finding as JSON, as the last line. Knows nothing of other checks.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import torch

from patchtrain.doctor.checks import check_named
from patchtrain.doctor.finding import Finding, failed
from patchtrain.errors import one_line


def main(name: str, device: str) -> None:
    """Run the check `name` on `device` and print what it found."""
    print(json.dumps(asdict(_found(name, device))), flush=True)


def _found(name: str, device: str) -> Finding:
    try:
        return check_named(name).run(torch.device(device))
    except Exception as error:  # whatever goes wrong is what the check found
        return failed(one_line(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
