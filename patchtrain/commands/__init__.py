"""The commands behind `patchtrain`, one file each; argument parsing is in `cli`."""
