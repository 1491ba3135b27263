"""Drawings over time: figures as lines, drift as a heat map, rejections and incidents as strips."""

from collections.abc import Sequence
from itertools import pairwise

from tidemill.report.markup import Markup, el, short
from tidemill.report.scale import Scale, padded, ticks, time_ticks
from tidemill.report.shapes import figure_of, path
from tidemill.report.view import ColumnHistory, Maturity, Metric, ModelSpan, Point, Stretch
from tidemill.report.words import between, figure, percent

WIDTH, HEIGHT = 440, 190
_LEFT, _RIGHT, _TOP, _BASE = 44, 70, 22, 160
WIDE = 960
_NAMES = 190
_CELL = 17
LEVELS = (0.5, 1.0, 2.5)
"""Where the heat map changes its colour, in multiples of the threshold."""


def line_chart(
    metric: Metric,
    stretches: Sequence[Stretch],
    models: Sequence[ModelSpan],
    title: str,
    level_name: str = "reference",
) -> Markup:
    """Measured and estimated values over time, the reference as a level, and where another model took over."""
    x = Scale(stretches[0].start, stretches[-1].end, _LEFT, WIDTH - _RIGHT)
    values = [v for point in metric.points for v in (point.measured, point.estimated) if v is not None]
    values += [] if metric.reference is None else [metric.reference]
    low, high = padded(min(values), max(values))
    y = Scale(low, high, _BASE, _TOP)
    middles = [x.at((stretch.start + stretch.end) / 2) for stretch in stretches]
    parts = _frame(x, y, low, high, figure)
    parts += _changes(models, x)
    ends: list[tuple[float, str, str]] = []
    if metric.reference is not None:
        level = y.at(metric.reference)
        parts.append(el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=level, y2=level, class_="level"))
        ends.append((level, level_name, "level"))
    estimated = [
        (at, y.at(p.estimated)) for at, p in zip(middles, metric.points, strict=True) if p.estimated is not None
    ]
    if len(estimated) > 1:
        parts.append(el("path", d=path(estimated), class_="est"))
        ends.append((estimated[-1][1], "estimated", "est"))
    measured = _measured(metric.points, middles, y)
    parts += measured[0]
    if measured[1] is not None:
        ends.append((measured[1], "measured", "now"))
    parts += _labels(ends)
    known = [p.measured for p in metric.points if p.measured is not None]
    told = f"{title} over time: {figure(known[0])} at first, {figure(known[-1])} at last" if known else title
    return figure_of(WIDTH, HEIGHT, told, *parts)


def labelled_chart(maturity: Maturity, stretches: Sequence[Stretch]) -> Markup:
    """The share of predictions that have their label."""
    x = Scale(stretches[0].start, stretches[-1].end, _LEFT, WIDTH - _RIGHT)
    y = Scale(0, 1, _BASE, _TOP)
    parts = _frame(x, y, 0, 1, percent)
    for stretch, share, late in zip(stretches, maturity.shares, maturity.provisional, strict=True):
        if share is not None:
            left, right, top = x.at(stretch.start), x.at(stretch.end), y.at(share)
            mark = "bar open" if late else "bar"
            width = max(right - left - 0.6, 0.8)
            parts.append(el("rect", x=left, y=top, width=width, height=_BASE - top, class_=mark))
    if maturity.usual is not None:
        level = y.at(maturity.usual)
        parts.append(el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=level, y2=level, class_="level"))
        parts += _labels([(level, "usually", "level")])
    return figure_of(WIDTH, HEIGHT, f"Share of predictions with a label; usually {percent(maturity.usual)}", *parts)


def heat_map(
    rows: Sequence[ColumnHistory], stretches: Sequence[Stretch], threshold: float, models: Sequence[ModelSpan]
) -> Markup:
    """A row for each column, a cell for each stretch; the darker the further from the reference. A dot is an alarm."""
    x = Scale(stretches[0].start, stretches[-1].end, _NAMES, WIDE - 6)
    bottom = 24 + len(rows) * _CELL
    parts = []
    for place, row in enumerate(rows):
        top = 24 + place * _CELL
        name = row.name if row.group == "features" else f"{row.group}: {row.name}"
        parts.append(
            el("text", short(name, 30), el("title", name), x=_NAMES - 8, y=top + 12, text_anchor="end", class_="name")
        )
        for stretch, effect, alarm in zip(stretches, row.effects, row.alarms, strict=True):
            left, right = x.at(stretch.start), x.at(stretch.end)
            width = max(right - left - 0.7, 0.6)
            tip = el("title", f"{name}, {between(stretch.start, stretch.end)}: {figure(effect)}")
            parts.append(el("rect", tip, x=left, y=top, width=width, height=_CELL - 2, class_=level(effect, threshold)))
            if alarm:
                parts.append(
                    el(
                        "circle",
                        cx=left + width / 2,
                        cy=top + (_CELL - 2) / 2,
                        r=min(2.2, max(width / 3, 1)),
                        class_="dot",
                    )
                )
    for at, label in time_ticks(stretches[0].start, stretches[-1].end, 12):
        anchor = "end" if x.at(at) > WIDE - 20 else "middle"
        parts.append(el("text", label, x=x.at(at), y=bottom + 14, text_anchor=anchor))
        parts.append(el("line", x1=x.at(at), x2=x.at(at), y1=bottom, y2=bottom + 3, class_="axis"))
    parts += _changes(models, x, top=24, base=bottom)
    told = f"Drift of {len(rows)} columns over time; the table below has the same in figures"
    return figure_of(WIDE, bottom + 22, told, *parts)


def level(effect: float | None, threshold: float) -> str:
    """The class of a heat map's cell."""
    if effect is None:
        return "none"
    return f"h{sum(abs(effect) >= threshold * step for step in LEVELS)}"


def sparkbars(counts: Sequence[int], label: str) -> Markup:
    """Small bars without an axis, for a table's cell."""
    width, height, most = 240, 26, max(counts) or 1
    step = width / len(counts)
    parts = [
        el("rect", x=i * step, y=height - size, width=max(step - 0.8, 0.6), height=size, class_="bar")
        for i, n in enumerate(counts)
        if (size := max(n / most * height, 1) if n else 0)
    ]
    base = el("line", x1=0, x2=width, y1=height, y2=height, class_="axis")
    return figure_of(width, height + 1, label, *parts, base, class_="spark")


def strip(start: int, end: int, covered: Stretch, severity: str, label: str, *, still_open: bool) -> Markup:
    """An incident's time within the whole."""
    x = Scale(covered.start, covered.end, 0, 240)
    left, right = x.at(start), x.at(end)
    parts = [el("line", x1=0, x2=240, y1=9, y2=9, class_="axis")]
    parts.append(el("rect", x=left, y=4, width=max(right - left, 3), height=10, rx=2, class_=f"incident {severity}"))
    if still_open:
        parts.append(
            el(
                "path",
                d=f"M{right - 1:.1f} 1L{min(right + 7, 247):.1f} 9L{right - 1:.1f} 17Z",
                class_=f"incident {severity}",
            )
        )
    return figure_of(248, 18, label, *parts, class_="spark")


def strip_axis(covered: Stretch) -> Markup:
    """The axis that strips share."""
    x = Scale(covered.start, covered.end, 0, 240)
    marks = [
        el(
            "text",
            label,
            x=x.at(at),
            y=11,
            text_anchor="start" if x.at(at) < 12 else "end" if x.at(at) > 228 else "middle",
        )
        for at, label in time_ticks(covered.start, covered.end, 5)
    ]
    return el("svg", *marks, viewBox="0 0 248 15", aria_hidden="true", class_="spark")


def _frame(x: Scale, y: Scale, low: float, high: float, write: object) -> list[Markup]:
    assert callable(write)
    parts = []
    for value in ticks(low, high):
        at = y.at(value)
        parts.append(el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(el("text", write(value), x=_LEFT - 6, y=at + 4, text_anchor="end"))
    for moment, label in time_ticks(round(x.low), round(x.high), 6):
        parts.append(el("line", x1=x.at(moment), x2=x.at(moment), y1=_BASE, y2=_BASE + 4, class_="axis"))
        parts.append(el("text", label, x=x.at(moment), y=_BASE + 17, text_anchor="middle"))
    return [*parts, el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_BASE, y2=_BASE, class_="axis")]


def _changes(models: Sequence[ModelSpan], x: Scale, top: float = _TOP, base: float = _BASE) -> list[Markup]:
    parts = []
    for model in models:
        if x.low < model.since < x.high:
            at = x.at(model.since)
            parts.append(el("line", x1=at, x2=at, y1=top - 8, y2=base, class_="change"))
            parts.append(el("text", model.version[:8], x=at + 3, y=top - 4, class_="changed"))
    return parts


def _measured(points: Sequence[Point], middles: Sequence[float], y: Scale) -> tuple[list[Markup], float | None]:
    """Lines between neighbours, dotted to those that are provisional, which have hollow dots; and where they end."""
    parts: list[Markup] = []
    known = [
        (at, y.at(p.measured), p.provisional) for at, p in zip(middles, points, strict=True) if p.measured is not None
    ]
    settled: list[str] = []
    pending: list[str] = []
    for (x1, y1, _), (x2, y2, late) in pairwise(known):
        (pending if late else settled).append(f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}")
    if settled:
        parts.append(el("path", d="".join(settled), class_="now"))
    if pending:
        parts.append(el("path", d="".join(pending), class_="now pending"))
    parts += [
        el("circle", cx=at, cy=level_, r=2.6, class_="open" if late else "point")
        for at, level_, late in known
        if late or len(known) < 3
    ]
    return parts, known[-1][1] if known else None


def _labels(ends: Sequence[tuple[float, str, str]]) -> list[Markup]:
    """Names at the lines' ends, pushed apart where they would lie upon each other."""
    parts, below = [], -100.0
    for at, label, mark in sorted(ends):
        below = max(at + 4, below + 13)
        parts.append(el("text", label, x=WIDTH - _RIGHT + 6, y=below, class_=f"label {mark}"))
    return parts
