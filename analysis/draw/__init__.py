"""Charts and tables as data, and what writes them: Plotly, matplotlib, CSV, Markdown, LaTeX."""
