"""Puts the sections together: the HTML page, and the same figures and tables as files."""
