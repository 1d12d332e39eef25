"""Parts of a stranger's own: one of each kind, in a package that knows patchtrain's contracts."""
