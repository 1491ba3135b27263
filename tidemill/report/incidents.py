"""What needed attention: incidents on a time line with their sentences, and rejections by reason."""

from tidemill.report.markup import Markup, el, join, short
from tidemill.report.series import sparkbars, strip, strip_axis
from tidemill.report.shapes import key
from tidemill.report.tables import table
from tidemill.report.view import Alert, Report
from tidemill.report.words import between, count, length, moment, percent

MOST_INCIDENTS = 60
MOST_REASONS = 20


def incidents(report: Report) -> Markup:
    """Incidents, the open ones first."""
    if not report.alerts:
        return el("p", "No incident in this time.", class_="quiet")
    shown = report.alerts[:MOST_INCIDENTS]
    head = ("incident", "what", strip_axis(report.covered))
    rows = [_row(alert, report) for alert in shown]
    more = len(report.alerts) - len(shown)
    rest = [el("p", f"and {count(more, 'incident')} more: --json has them", class_="quiet")] if more else []
    marks = key(("warning", "warning"), ("critical", "critical"))
    return join(marks, table("Incidents on a time line", head, rows), *rest)


def rejections(report: Report) -> Markup:
    """Rejections by reason, each over the same time."""
    counted = report.rejections
    if not counted.total:
        return el("p", "No event was rejected.", class_="quiet")
    end = counted.start + counted.width * counted.bins
    told = (
        f"{count(counted.total, 'rejection')}, {between(counted.start, end)} by the time of the events' records;"
        f" a bar is {length(counted.width)}, each row has a scale of its own."
    )
    head = ("reason", "stage", "count", "share", f"{moment(counted.start)} to {moment(end)}", "most in a bar")
    rows = [
        (
            each.reason or "(none given)",
            each.stage,
            f"{each.count:,}",
            percent(each.count / counted.total),
            sparkbars(each.counts, f"{each.reason} over time, at most {max(each.counts):,} in {length(counted.width)}"),
            f"{max(each.counts):,}",
        )
        for each in counted.reasons[:MOST_REASONS]
    ]
    more = len(counted.reasons) - MOST_REASONS
    rest = [el("p", f"and {count(more, 'reason')} more: --json has them", class_="quiet")] if more > 0 else []
    return join(el("p", told, class_="quiet"), table("Rejections by reason", head, rows, (2, 3, 5)), *rest)


def _row(alert: Alert, report: Report) -> tuple[str, ...]:
    still_open = alert.until is None
    end = report.covered.end if alert.until is None else alert.until
    notes = [alert.kind.replace("_", " "), alert.detector]
    notes += ["estimated"] if alert.estimated else []
    notes += ["muted"] if alert.muted else []
    notes += [f"taken on by {short(alert.acknowledged_by, 60)}"] if alert.acknowledged_by else []
    subject = short(alert.subject if not alert.slice else f"{alert.subject}, {alert.slice}", 160)
    until = "open" if still_open else f"until {moment(end)}"
    label = f"{alert.severity}, from {moment(alert.opened_at)}, {until}"
    return (
        join(
            el(
                "span",
                alert.severity,
                ", ",
                until if still_open else "resolved",
                class_="verdict alarm" if still_open else "verdict",
            ),
            el("br"),
            el(
                "span",
                f"since {moment(alert.opened_at)}" if still_open else between(alert.opened_at, end),
                class_="quiet",
            ),
        ),
        join(el("b", subject), ": ", short(alert.message, 500), " ", el("span", ", ".join(notes), class_="quiet")),
        strip(alert.opened_at, end, report.covered, alert.severity, label, still_open=still_open),
    )
