"""Reads results: a sweep's RUN_DIR, or other people's sweeps, as a `Run`."""
