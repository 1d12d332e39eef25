"""The contract of a part of the page: `Section`, and the blocks that it may consist of.

A section says what stands in it as data; it knows nothing of how the page or the files are made.
Texts are shown as they are, except `Markup`, which is HTML. Build that with `Markup.format`, which
escapes what it fills in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from analysis.draw.charts import Chart
from analysis.draw.tables import Table
from analysis.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Block:
    """Something that stands in a section."""

    kind: ClassVar[str]
    """The macro of the page's template that shows it."""
    is_shown: bool = True
    """Whether it stands on the page; charts and tables that do not are exported all the same."""


@dataclass(frozen=True, kw_only=True)
class Text(Block):
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    look: str = "plain"
    """`plain`, `muted`, or `note` for the small print."""


@dataclass(frozen=True, kw_only=True)
class Bullets(Block):
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Heading(Block):
    """A heading inside the section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, kw_only=True)
class Figure(Block):
    """A chart that can be pointed at; left out where it has nothing to draw."""

    kind: ClassVar[str] = "figure"
    chart: Chart
    label: str
    """What a screen reader says."""


@dataclass(frozen=True, kw_only=True)
class Still(Block):
    """A chart as a picture, which the page shows where scripts do not run."""

    kind: ClassVar[str] = "still"
    chart: Chart
    alt: str
    title: str
    """What stands over the picture in its file."""


@dataclass(frozen=True, kw_only=True)
class Listing(Block):
    """A table; left out where it has no rows."""

    kind: ClassVar[str] = "listing"
    table: Table
    folded: str = ""
    """The words to click on that unfold it; where empty, it is always open."""
    look: str = ""
    """`best`: cards on a phone, the first two columns in bold."""


@dataclass(frozen=True, kw_only=True)
class Command(Block):
    """A shell command with a button that copies it."""

    kind: ClassVar[str] = "command"
    text: str
    label: str
    """What it is for, as the button's label says it: "the best in 8GB"."""
    title: str = ""
    """Stands over it."""


@dataclass(frozen=True, kw_only=True)
class Facts(Block):
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Html(Block):
    """What a script of the page fills in."""

    kind: ClassVar[str] = "html"
    html: Markup


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page."""

    name: str
    """Its anchor on the page."""
    heading: str
    """`{metric}` stands for the name of the metric."""
    build: Callable[[Run], Sequence[Block]]
    """What stands in it for a run; without a block that is shown, the page leaves it out."""

    def part(self, run: Run) -> Part:
        """Return this section of the page of `run`."""
        heading = self.heading.format(metric=run.metric_name)
        return Part(name=self.name, heading=heading, blocks=tuple(self.build(run)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section as it stands on the page of one run."""

    name: str
    heading: str
    blocks: tuple[Block, ...]

    @property
    def shown(self) -> tuple[Block, ...]:
        """The blocks that stand on the page."""
        return tuple(each for each in self.blocks if each.is_shown and not _is_empty(each))

    @property
    def charts(self) -> tuple[Figure | Still, ...]:
        """The charts that can be exported: figures that draw something, and every still."""
        found = (each for each in self.blocks if isinstance(each, Figure | Still))
        return tuple(each for each in found if isinstance(each, Still) or not _is_empty(each))

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables that have rows."""
        found = (each.table for each in self.blocks if isinstance(each, Listing))
        return tuple(each for each in found if each.rows)


def _is_empty(block: Block) -> bool:
    if isinstance(block, Figure):
        return block.chart.is_empty
    return isinstance(block, Listing) and not block.table.rows


def number(value: float, text: str) -> Markup:
    """Return a number for a `Text`, with its exact value behind what is shown."""
    return Markup('<data value="{}">{}</data>').format(value, text)


def plural(count: int, noun: str) -> str:
    """Return "1 pair", "2 pairs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
