"""One file a command of `python -m analysis`: its arguments, what it prints, its exit status."""
