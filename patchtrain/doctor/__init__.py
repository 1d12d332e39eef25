"""`patchtrain doctor`: is the memory budget of this machine's GPU real?

Each check runs in a process of its own, so that a crash is a result too.
"""
