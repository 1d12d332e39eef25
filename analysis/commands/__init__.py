"""The commands of `python -m analysis`, one file each: arguments, what is printed, exit status."""
