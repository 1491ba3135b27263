"""Whether scores mean what they say: the calibration plot."""

from tidemill.report.markup import Markup, el, join
from tidemill.report.scale import Scale
from tidemill.report.shapes import figure_of, key, path
from tidemill.report.tables import folded, table
from tidemill.report.view import Calibration, CalibrationBin, Report
from tidemill.report.words import count, figure, percent

_SIDE, _LEFT, _TOP, _END = 360, 48, 10, 316


def section(report: Report) -> Markup:
    """The plot, what it says, and its figures."""
    made = report.calibration
    if made is None:
        return join()
    said = verdict(made)
    told = (
        f"Model {made.model_version}, {count(made.rows, 'outcome')}. A score of 30 % is right if what it speaks of"
        " happens in 30 % of such cases: points on the diagonal. A larger point stands for more events."
    )
    entries = [("now", "now")] + ([("ref", "at the model's evaluation")] if made.reference else [])
    head = ("mean score", "happened", "outcomes")
    rows = [(percent(each.score), percent(each.share), f"{each.rows:,}") for each in made.bins]
    words = el("div", el("p", said, class_="lead"), el("p", told, class_="quiet"), key(*entries))
    figures = folded("In figures", table("Calibration", head, rows, (0, 1, 2)))
    return el("div", _plot(made, said), el("div", words, figures), class_="calibration")


def verdict(made: Calibration) -> str:
    """What the plot says."""
    if made.error is None:
        return "There are no outcomes to tell."
    weight = sum(each.rows for each in made.bins)
    lean = sum((each.score - each.share) * each.rows for each in made.bins) / weight
    before = "" if made.reference_error is None else f" ({figure(100 * made.reference_error)} at the evaluation)"
    size = f"On average a score is {figure(100 * made.error)} points off{before}"
    if abs(lean) < made.error / 2:
        return f"{size}, in both directions."
    return f"{size}: scores are too {'high' if lean > 0 else 'low'}."


def _plot(made: Calibration, label: str) -> Markup:
    x, y = Scale(0, 1, _LEFT, _LEFT + _END - _TOP), Scale(0, 1, _END, _TOP)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(el("line", x1=x.at(0), x2=x.at(1), y1=y.at(value), y2=y.at(value), class_="grid"))
        parts.append(el("line", x1=x.at(value), x2=x.at(value), y1=y.at(0), y2=y.at(1), class_="grid"))
        parts.append(el("text", percent(value), x=_LEFT - 6, y=y.at(value) + 4, text_anchor="end"))
        parts.append(el("text", percent(value), x=x.at(value), y=_END + 16, text_anchor="middle"))
    parts.append(el("line", x1=x.at(0), y1=y.at(0), x2=x.at(1), y2=y.at(1), class_="level"))
    parts.append(el("text", "mean score", x=x.at(0.5), y=_END + 34, text_anchor="middle"))
    parts.append(
        el(
            "text",
            "share that happened",
            x=0,
            y=0,
            transform=f"translate(11 {y.at(0.5):.0f}) rotate(-90)",
            text_anchor="middle",
        )
    )
    if made.reference:
        parts.append(el("path", d=path(_places(made.reference, x, y)), class_="before"))
    parts.append(el("path", d=path(_places(made.bins, x, y)), class_="now thin"))
    most = max(each.rows for each in made.bins)
    for each in made.bins:
        size = 2.2 + 6 * (each.rows / most) ** 0.5
        tip = el("title", f"score {percent(each.score)}, happened {percent(each.share)}, {count(each.rows, 'outcome')}")
        parts.append(el("circle", tip, cx=x.at(each.score), cy=y.at(each.share), r=size, class_="bubble"))
    return figure_of(_SIDE + 10, _SIDE, f"Calibration plot. {label}", *parts)


def _places(bins: tuple[CalibrationBin, ...], x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x.at(each.score), y.at(each.share)) for each in bins]
