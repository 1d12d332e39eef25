"""What a figure shows, as data that any plotting library can draw: `Chart` and its pieces.

Colours are names of `LIGHT` and `DARK`. Knows nothing of trials or of plotting libraries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Okabe and Ito's colour-blind-safe colours; the lighter of their two blues on a dark background
LIGHT: Mapping[str, str] = {
    "text": "#1f2933",
    "muted": "#52606d",
    "grid": "#e4e7eb",
    "surface": "#ffffff",
    "front": "#0072B2",
    "other": "#7b8794",
    "over": "#D55E00",
    "stopped": "#009E73",
    "predicted": "#CC79A7",
    "paper": "#E69F00",
    "faint": "#cbd2d9",
}
DARK: Mapping[str, str] = {
    **LIGHT,
    "text": "#e4e7eb",
    "muted": "#9aa5b1",
    "grid": "#323f4b",
    "surface": "#1b2229",
    "front": "#56B4E9",
    "other": "#9aa5b1",
    "over": "#E8743B",
    "faint": "#4a5763",
}

CYCLE = ("front", "paper", "stopped", "over", "predicted", "other")
"""Colours for whatever has no colour of its own, one after the other."""

RUN_CYCLE = ("front", "over", "stopped", "predicted", "other")
"""Colours of runs; the one of the paper is left out."""


@dataclass(frozen=True)
class Mark:
    """How one kind of point looks: marker in Plotly and matplotlib, colour name, size in px."""

    plotly_symbol: str
    matplotlib_marker: str
    colour: str
    size: int = 9

    @property
    def is_open(self) -> bool:
        """Whether only the outline is drawn."""
        return self.plotly_symbol.endswith("-open")


MARKS = (
    Mark("circle", "o", "front"),
    Mark("square", "s", "paper"),
    Mark("diamond", "D", "stopped"),
    Mark("triangle-up", "^", "over"),
    Mark("cross", "P", "predicted"),
    Mark("x", "x", "other"),
)
"""Marks for whatever has no mark of its own, one after the other."""

HATCHES = (
    ("", ""),
    ("/", "//"),
    ("x", "xx"),
    ("-", "--"),
    (".", ".."),
    ("\\", "\\\\"),
    ("+", "++"),
)
"""Patterns of stacked bars, in Plotly and in matplotlib, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a panel."""

    title: str
    log: bool = False
    ticks: tuple[float, ...] = ()
    """Where it is labelled; where empty, the library decides."""
    categories: tuple[str, ...] = ()
    """Names that stand at 0, 1, 2, ...; where empty, the axis holds numbers."""
    range: tuple[float, float] | None = None
    whole: bool = False
    """Whether only whole numbers are labelled."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """Marks at (x, y)."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    mark: Mark
    hover: Sequence[str] = ()
    """One text for each point, with newlines between lines."""
    low: Sequence[float | None] = ()
    """Lower end of an interval in y; empty or None where there is no interval."""
    high: Sequence[float | None] = ()
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points joined by a line."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    width: float = 2
    is_dotted: bool = False
    is_stepped: bool = False
    """Whether it stays level up to the next point."""
    mark: Mark | None = None
    hover: Sequence[str] = ()
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars from the left, one for each category of the y axis; bars of one category are stacked."""

    label: str
    lengths: Sequence[float]
    colour: str
    hatch: tuple[str, str] = ("", "")
    """In Plotly and in matplotlib."""
    hover: Sequence[str] = ()
    texts: Sequence[str] = ()
    """Written at the end of each bar."""
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A line across the panel at one value."""

    at: float
    vertical: bool
    label: str = ""
    level: int = 0
    """Row of the label over the panel, so that labels close together do not overlap."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes and what is drawn in it."""

    x: Axis
    y: Axis
    series: tuple[Points | Line | Bars, ...]
    title: str = ""
    rules: tuple[Rule, ...] = ()
    height: float = 1
    """Relative to the other panels of the chart."""
    note: str = ""
    """What the panel says where there is nothing to draw."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure."""

    name: str
    """The files it is exported to and its place on the page are called by this name."""
    title: str
    panels: tuple[Panel, ...]
    columns: int = 1
    share_x: bool = False
    """Whether the panels stand below each other and share one x axis."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is drawn."""
        return not any(panel.series for panel in self.panels)
