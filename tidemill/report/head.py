"""The top of the page: what is reported on, and the answer in a sentence."""

from tidemill.report.markup import Markup, el, join
from tidemill.report.view import Report
from tidemill.report.words import between, count, figure, length, moment, percent

TITLES = {
    "log_loss": "Log-loss",
    "auc": "AUC",
    "brier": "Brier score",
    "accuracy": "Accuracy",
    "mae": "Mean absolute error",
    "rmse": "Root mean square error",
    "bias": "Mean error",
}
"""What figures are called."""


def head(report: Report) -> Markup:
    """Title, sentence and facts."""
    covered, now = report.covered, report.now
    title = report.pipeline if not report.slice else f"{report.pipeline}, {report.slice}"
    windows = f"{count(report.windows, 'window')} of {length(report.window_ms)}"
    newest = report.models[-1] if report.models else None
    facts = [
        ("Time covered", between(covered.start, covered.end), windows),
        ("Events", f"{covered.rows:,}", f"{count(now.rows, 'event')} now, {between(now.start, now.end)}"),
        ("Model", newest.version if newest else "none", f"since {moment(newest.since)}" if newest else ""),
        ("Reference", *_reference(report)),
        ("Open incidents", str(report.open_alerts), f"of {count(len(report.alerts), 'incident')} in this time"),
        ("Labels", *_labels(report)),
    ]
    shown = [el("div", el("dt", name), el("dd", value, el("small", note))) for name, value, note in facts]
    return join(
        el("h1", title),
        el("p", "Drift report, all times in UTC", class_="quiet"),
        el("p", sentence(report), class_="lead"),
        el("dl", *shown, class_="facts"),
    )


def sentence(report: Report) -> str:
    """The report in one or two sentences."""
    parts = []
    compared = [column for column in report.columns if column.effect is not None]
    if compared:
        features = [column for column in compared if column.group == "features"]
        drifted = [column for column in features if column.drifted]
        what = f"{len(drifted)} of {count(len(features), 'feature')} differ from the reference"
        named = ", ".join(column.name for column in drifted[:3]) + (" and others" if len(drifted) > 3 else "")
        parts.append(f"{what}: {named}." if drifted else f"{what}.")
    else:
        parts.append("There is no reference to compare with yet: no announced model carries one.")
    for metric in report.metrics[:1]:
        settled = [p.measured for p in metric.points if p.measured is not None and not p.provisional]
        if settled:
            before = "" if metric.reference is None else f", {figure(metric.reference)} when the model was evaluated"
            parts.append(f"{TITLES[metric.name]} was {figure(settled[-1])} at last{before}.")
    return " ".join(parts)


def _reference(report: Report) -> tuple[str, str]:
    if report.reference is None:
        return "none", "no announced model carries one"
    made = report.reference
    when = between(made.start, made.end) if made.start else ""
    return f"{report.reference_version}", f"{count(made.rows, 'row')} {when}".strip()


def _labels(report: Report) -> tuple[str, str]:
    settled = report.maturity
    if settled.usual is None:
        return "none yet", "no outcome has been profiled"
    late = sum(settled.provisional)
    note = (
        "all figures are settled"
        if not late
        else f"{count(late, 'newest stretch')} provisional".replace("stretchs", "stretches")
    )
    return f"{percent(settled.usual)} in the end", f"{settled.labelled:,} of {settled.predicted:,} so far; {note}"
