"""One file a figure: what it shows, computed as data (`*_info`), and that as a chart (`*_chart`).

Knows nothing of plotting libraries, files or HTML.
"""
