"""The sections of the page, each with its drawings and the table behind them."""

from tidemill.report import calibration, fairness, incidents, series, shapes
from tidemill.report.head import TITLES
from tidemill.report.markup import Markup, el, join, short
from tidemill.report.tables import folded, table
from tidemill.report.view import Column, Report
from tidemill.report.words import between, count, figure, moment, percent

MOST_CARDS = 12
MOST_ROWS_OF_HEAT = 24
MOST_CHARACTERS = 100

Section = tuple[str, str, Markup]


def sections(report: Report) -> list[Section]:
    """Anchor, title and content of each."""
    made = [
        ("features", "Features now", _columns(report, "features")),
        ("predictions", "Predictions and labels now", _columns(report, "predictions", "outcomes")),
        ("drift", "Drift over time", _drift(report)),
        ("performance", "Performance over time", _performance(report)),
        ("fairness", "Fairness", fairness.section(report)),
        ("calibration", "Calibration", calibration.section(report)),
        ("incidents", "Incidents", incidents.incidents(report)),
        ("rejections", "Rejections", incidents.rejections(report)),
    ]
    return [(anchor, title, content) for anchor, title, content in made if content]


def _columns(report: Report, *groups: str) -> Markup:
    chosen = [column for column in report.columns if column.group in groups]
    if not chosen:
        return join()
    told = f"Now is {between(report.now.start, report.now.end)}, {count(report.now.rows, 'event')}. "
    if report.reference is not None:
        told += (
            f"The furthest from the reference come first. The distance is the population stability index (PSI);"
            f" from {figure(report.threshold)} on it counts, if it is significant as well."
        )
    key = shapes.key(("ref", "reference"), ("now", "now")) if report.reference is not None else join()
    cards = el("div", *(_card(column) for column in chosen[:MOST_CARDS]), class_="grid")
    rest = len(chosen) - MOST_CARDS
    head = ("column", "verdict", "PSI", "p-value", "missing then", "missing now", "change")
    rows = [
        (
            short(column.name, MOST_CHARACTERS),
            column.verdict,
            figure(column.effect),
            figure(column.p_value),
            percent(column.missing_reference),
            percent(column.missing),
            short(column.change, 200),
        )
        for column in chosen
    ]
    title = "The same as a table" if rest <= 0 else f"All {len(chosen):,} as a table, {rest:,} of them not drawn above"
    return join(el("p", told, class_="quiet"), key, cards, folded(title, table(title, head, rows, (2, 3, 4, 5))))


def _card(column: Column) -> Markup:
    mark, tone = ("▲ ", "verdict alarm") if column.drifted else ("", "verdict")
    words: list[str] = [el("span", mark, column.verdict, class_=tone)]
    if column.effect is not None:
        words.append(f", PSI {figure(column.effect)}")
    told = [short(column.change, 200)]
    then, now = percent(column.missing_reference), percent(column.missing)
    if column.missing or column.missing_reference:
        told.append(f"missing {now}" if column.missing_reference is None or then == now else f"missing {then} → {now}")
    name = short(column.name, MOST_CHARACTERS) + (" (what happened)" if column.group == "outcomes" else "")
    return el(
        "article",
        el("h3", name),
        el("p", *words),
        el("p", "; ".join(told), class_="quiet"),
        shapes.drawing(column),
        class_="card",
    )


def _drift(report: Report) -> Markup:
    if not report.history:
        return join()
    shown = report.history[:MOST_ROWS_OF_HEAT]
    least = report.threshold
    low, middle, high = (figure(least * step) for step in series.LEVELS)
    told = "Each stretch against the reference of the model that answered most of it, by PSI."
    if report.windows > len(report.stretches):
        told += f" {count(report.windows, 'window')} are put together in {len(report.stretches)} stretches."
    if len(shown) < len(report.history):
        told += f" Drawn are the {len(shown)} that drifted most of {len(report.history):,}."
    key = shapes.key(
        ("h0", f"below {low}"), ("h1", f"to {middle}"), ("h2", f"to {high}"), ("h3", "more"), ("open", "an alarm")
    )
    head = ("column", "stretches with an alarm", "furthest", "when", "at last")
    rows = []
    for row in report.history:
        known = [(effect, i) for i, effect in enumerate(row.effects) if effect is not None]
        worst, place = max(known, key=lambda each: (each[0], -each[1]))
        stretch = report.stretches[place]
        when = between(stretch.start, stretch.end)
        rows.append(
            (short(row.name, MOST_CHARACTERS), str(sum(row.alarms)), figure(worst), when, figure(row.effects[-1]))
        )
    drawn = el("div", series.heat_map(shown, report.stretches, least, report.models), class_="wide")
    return join(
        el("p", told, class_="quiet"), key, drawn, folded("In figures", table("Drift over time", head, rows, (1, 2, 4)))
    )


def _performance(report: Report) -> Markup:
    if not report.metrics:
        return join()
    told = "Measured on the labels that have come."
    if any(report.maturity.provisional):
        told += " Provisional: so many labels are still missing that the figure may change."
    estimated = any(p.estimated is not None for metric in report.metrics for p in metric.points)
    entries = [("now", "measured"), ("level", "at the model's evaluation")]
    entries += [("open", "provisional")] if any(report.maturity.provisional) else []
    entries += [("est", "estimated from the scores alone")] if estimated else []
    drawn = []
    for metric in report.metrics:
        better = {True: ", higher is better", False: ", lower is better", None: ""}[metric.higher_is_better]
        title = TITLES[metric.name]
        caption = el("h3", title, el("span", better, class_="quiet"))
        chart = series.line_chart(metric, report.stretches, report.models, title)
        drawn.append(el("article", caption, chart, class_="card"))
    caption = el(
        "h3",
        "Labels that have come",
        el("span", f", share of predictions; {percent(report.maturity.usual)} in the end", class_="quiet"),
    )
    drawn.append(el("article", caption, series.labelled_chart(report.maturity, report.stretches), class_="card"))
    head = ("from", "outcomes", "labelled", *(TITLES[metric.name] for metric in report.metrics))
    rows = [
        (
            moment(stretch.start),
            f"{report.metrics[0].points[i].rows:,}",
            percent(report.maturity.shares[i]) + (" provisional" if report.maturity.provisional[i] else ""),
            *(figure(metric.points[i].measured) for metric in report.metrics),
        )
        for i, stretch in enumerate(report.stretches)
    ]
    figures = folded("In figures", table("Performance over time", head, rows, range(1, len(head))))
    return join(
        el("p", told, class_="quiet"),
        shapes.key(*entries),
        el("div", *drawn, class_="grid pairs"),
        figures,
        _models(report),
    )


def _models(report: Report) -> Markup:
    head = ("model", "answers since", "events", "trained on", "reference")
    rows = [
        (
            model.version,
            moment(model.since),
            f"{model.rows:,}",
            between(model.trained_from, model.trained_until) if model.trained_from and model.trained_until else "–",
            "yes" if model.has_reference else "no",
        )
        for model in report.models
    ]
    return folded("Models that answered", table("Models that answered", head, rows, (2,)))
