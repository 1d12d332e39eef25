"""Ends as its first argument says: a check's process that goes wrong."""

import os
import signal
import sys
import time

import torch  # noqa: F401  # as the real one does

HOW = sys.argv[1]

if HOW == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
elif HOW == "hang":
    time.sleep(60)
elif HOW == "exit":
    print("the driver went away", file=sys.stderr)
    sys.exit(7)
elif HOW == "talk":
    print("a library says hello")
    print('{"status": "ok", "told": "fine", "remedy": "", "figures": {"size": 3}}')
elif HOW == "nonsense":
    print("[1, 2]")
