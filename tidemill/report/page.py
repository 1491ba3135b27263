"""The report as one page of HTML with everything in it: it loads nothing, runs no script, and does not say when."""

from importlib.resources import files

from tidemill.report import sections
from tidemill.report.head import head
from tidemill.report.markup import Markup, el, join, raw
from tidemill.report.view import Report

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(report: Report) -> str:
    """The page; the same text for the same report, of bounded size whatever the report holds."""
    name = report.pipeline if not report.slice else f"{report.pipeline}, {report.slice}"
    parts = sections.sections(report)
    links = el("nav", *(el("a", title, href=f"#{anchor}") for anchor, title, _ in parts), aria_label="Sections")
    body = [
        el("section", el("h2", title, id=anchor), content, aria_labelledby=anchor) for anchor, title, content in parts
    ]
    style = files("tidemill.report").joinpath("style.css").read_text(encoding="utf-8")
    top = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{name}: drift report"),
        el("style", raw(style)),
    )
    whole = el("html", top, el("body", el("main", head(report), links, *body)), lang="en")
    return join(Markup("<!doctype html>\n"), whole, Markup("\n"))
