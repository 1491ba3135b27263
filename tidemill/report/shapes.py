"""Drawings of one column: bins of numbers, shares of categories. The reference is an area, now is a line upon it."""

from collections.abc import Sequence

from tidemill.report.markup import Markup, el, join, short
from tidemill.report.scale import Scale, ticks
from tidemill.report.view import Bar, CategoryShare, Column
from tidemill.report.words import figure, percent

WIDTH, HEIGHT = 320, 118
_BASE = 96
_TOP = 6
_ROW = 19
_NAME = 96
_LONGEST_NAME = 15


def drawing(column: Column) -> Markup:
    """The column's shape; an empty one is a sentence."""
    if column.bars:
        return histogram(column.bars, f"Distribution of {column.name}: {column.change}")
    if column.categories:
        return category_bars(column.categories, f"Shares of {column.name}: {column.change}")
    return el("p", "no values now", class_="quiet")


def histogram(bars: Sequence[Bar], label: str) -> Markup:
    """Shares of numbers in bins of equal width."""
    x = Scale(bars[0].low, bars[-1].high, 2, WIDTH - 2)
    y = Scale(0, max(max(bar.now, bar.reference or 0.0) for bar in bars) or 1.0, _BASE, _TOP)
    parts = []
    if bars[0].reference is not None:
        parts.append(
            el("path", d=_steps(bars, [bar.reference or 0.0 for bar in bars], x, y, closed=True), class_="ref")
        )
    parts.append(el("path", d=_steps(bars, [bar.now for bar in bars], x, y, closed=False), class_="now"))
    parts.append(el("line", x1=2, x2=WIDTH - 2, y1=_BASE, y2=_BASE, class_="axis"))
    for value in ticks(bars[0].low, bars[-1].high):
        at = x.at(value)
        anchor = "start" if at < 14 else "end" if at > WIDTH - 14 else "middle"
        parts.append(el("line", x1=at, x2=at, y1=_BASE, y2=_BASE + 4, class_="axis"))
        parts.append(el("text", figure(value), x=at, y=_BASE + 16, text_anchor=anchor))
    return figure_of(WIDTH, HEIGHT, label, *parts)


def category_bars(shares: Sequence[CategoryShare], label: str) -> Markup:
    """A row for each category: a wide bar for the reference, a thin one for now, and both figures."""
    most = max(max(entry.now, entry.reference or 0.0) for entry in shares) or 1.0
    x = Scale(0, most, _NAME, WIDTH - 92)
    parts = []
    for place, entry in enumerate(shares):
        top = place * _ROW + 2
        name = short(entry.name, _LONGEST_NAME)
        parts.append(
            el("text", name, el("title", entry.name), x=_NAME - 6, y=top + 12, text_anchor="end", class_="name")
        )
        if entry.reference is not None:
            parts.append(el("rect", x=_NAME, y=top, width=x.at(entry.reference) - _NAME, height=15, class_="ref"))
        parts.append(el("rect", x=_NAME, y=top + 5, width=max(x.at(entry.now) - _NAME, 1), height=5, class_="bar"))
        told = percent(entry.now) if entry.reference is None else f"{percent(entry.reference)} → {percent(entry.now)}"
        end = x.at(max(entry.now, entry.reference or 0.0))
        parts.append(el("text", told, x=end + 5, y=top + 12))
    return figure_of(WIDTH, max(len(shares) * _ROW + 4, 40), label, *parts)


def figure_of(width: float, height: float, label: str, *parts: str, class_: str | None = None) -> Markup:
    """A drawing that grows with its place; `label` is its text for who cannot see it."""
    box = f"0 0 {width:g} {height:g}"
    return el("svg", *parts, viewBox=box, role="img", aria_label=label, class_=class_)


def _steps(bars: Sequence[Bar], heights: Sequence[float], x: Scale, y: Scale, *, closed: bool) -> str:
    places = [(x.at(bars[0].low), y.at(0))]
    for bar, height in zip(bars, heights, strict=True):
        places += [(x.at(bar.low), y.at(height)), (x.at(bar.high), y.at(height))]
    places.append((x.at(bars[-1].high), y.at(0)))
    return path(places) + ("Z" if closed else "")


def path(places: Sequence[tuple[float, float]]) -> str:
    """A line through the places, for an SVG path."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def key(*entries: tuple[str, str]) -> Markup:
    """What the marks mean: a class of mark and its meaning."""
    shown = [el("span", el("i", class_=f"swatch {mark}"), " ", meaning) for mark, meaning in entries]
    return el("p", join(*shown), class_="key")
