"""How differently groups of sensitive fields are answered, over time."""

from collections.abc import Sequence

from tidemill.processors.drift.declaration import GROUP_FIGURES
from tidemill.processors.drift.fairness import GroupFigures, compare_groups
from tidemill.report import series, shapes
from tidemill.report.markup import Markup, el, join, short
from tidemill.report.material import Material, Span
from tidemill.report.tables import folded, table
from tidemill.report.view import FieldFairness, Maturity, Metric, Point, Report
from tidemill.report.words import figure, moment

TITLES = {
    "demographic_parity": "Demographic parity difference",
    "equalised_odds": "Equalised odds difference",
}
_MEANING = (
    "How far groups are apart, from 0 (none) to 1: by how often they are answered with a class, and by how often that"
    " is said where it is true, and where it is not. Groups with too few labelled rows in a stretch are left out."
)


def fairness(material: Material, stretches: Sequence[Sequence[Span]], settled: Maturity) -> tuple[FieldFairness, ...]:
    """The figures of each declared field, one point a stretch; none in a report on a slice, which has one group."""
    if material.windows.slice:
        return ()
    made = []
    for field, limits in material.limits.items():
        found = [compare_groups(material.windows.groups(field, spans)) for spans in stretches]
        figures = tuple(
            Metric(
                name,
                False,
                limits.get(name),
                tuple(
                    Point(_value(each, name), None, each.rows, late)
                    for each, late in zip(found, settled.provisional, strict=True)
                ),
            )
            for name in GROUP_FIGURES
        )
        made.append(FieldFairness(field, figures))
    return tuple(made)


def section(report: Report) -> Markup:
    """The section; empty if no sensitive field is declared."""
    if not report.fairness:
        return join()
    parts = []
    for field in report.fairness:
        parts.append(el("h3", short(field.name, 100)))
        if all(point.measured is None for metric in field.figures for point in metric.points):
            parts.append(
                el(
                    "p",
                    "No stretch has two groups with enough labelled rows. Profiles tell groups apart by the fields in"
                    " tm.Profiles(slices=[...]).",
                    class_="quiet",
                )
            )
            continue
        drawn = [_card(report, metric) for metric in field.figures]
        parts += [el("div", *drawn, class_="grid pairs"), _table(report, field)]
    entries = [("now", "measured"), ("level", "the declared limit")]
    entries += [("open", "provisional")] if any(report.maturity.provisional) else []
    return join(el("p", _MEANING, class_="quiet"), shapes.key(*entries), *parts)


def _card(report: Report, metric: Metric) -> Markup:
    title = TITLES[metric.name]
    limit = "no limit" if metric.reference is None else f"limit {figure(metric.reference)}"
    caption = el("h3", title, el("span", f", {limit}", class_="quiet"))
    if all(point.measured is None for point in metric.points):
        return el("article", caption, el("p", "not measured yet", class_="quiet"), class_="card")
    chart = series.line_chart(metric, report.stretches, report.models, title, level_name="limit")
    return el("article", caption, chart, class_="card")


def _table(report: Report, field: FieldFairness) -> Markup:
    head = ("from", "labelled rows of groups", *(TITLES[metric.name] for metric in field.figures), "beyond a limit")
    rows = []
    for place, stretch in enumerate(report.stretches):
        points = [metric.points[place] for metric in field.figures]
        beyond = [
            TITLES[metric.name].removesuffix(" difference").lower()
            for metric, point in zip(field.figures, points, strict=True)
            if metric.reference is not None and point.measured is not None and point.measured > metric.reference
        ]
        late = " provisional" if points[0].provisional else ""
        rows.append(
            (
                moment(stretch.start),
                f"{points[0].rows:,}{late}",
                *(figure(p.measured) for p in points),
                ", ".join(beyond),
            )
        )
    caption = f"Fairness by {short(field.name, 100)}"
    return folded("In figures", table(caption, head, rows, (1, 2, 3)))


def _value(figures: GroupFigures, name: str) -> float | None:
    return float(getattr(figures, name)) if len(figures.rates) > 1 else None
