"""All trials: the table that the page's script sorts, filters and turns over."""

from __future__ import annotations

from markupsafe import Markup

from analysis.runs.run import Run
from analysis.sections.section import Block, Html, Section, Text

_TABLE = Markup("""\
  <div class="pages"><span id="shown" aria-live="polite"></span>
    <button type="button" id="previous">Previous</button><button type="button" id="next">Next</button></div>
  <div class="scroll" role="region" aria-labelledby="trials" tabindex="0">
  <table id="all-trials"><thead></thead><tbody></tbody></table>
  </div>
  <noscript><p>The table needs scripts; <code>trials.csv</code> beside this page has it.</p></noscript>
""")  # noqa: E501

_NOTE = Markup(
    "The filters above hold here too. <code>trials.csv</code> beside this page has every column."
)


def _build(run: Run) -> list[Block]:
    none = Text(text="No trial is recorded yet.", look="muted")
    return [none if run.trials.empty else Html(html=_TABLE), Text(text=_NOTE, look="note")]


SECTION = Section(name="trials", heading="All trials", build=_build)
