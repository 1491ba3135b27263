"""Tables of bounded length."""

from collections.abc import Iterable, Sequence

from tidemill.report.markup import Markup, el, join
from tidemill.report.words import count

MOST_ROWS = 200


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> Markup:
    """A table; `numbers` are the places of columns with figures. What is beyond `MOST_ROWS` is only counted."""
    right = set(numbers)

    def cells(name: str, row: Sequence[str]) -> list[Markup]:
        return [
            el(name, cell, class_="n" if i in right else None, scope="col" if name == "th" else None)
            for i, cell in enumerate(row)
        ]

    shown = [el("tr", *cells("td", row)) for row in rows[:MOST_ROWS]]
    body = el(
        "table", el("caption", caption, class_="unseen"), el("thead", el("tr", *cells("th", head))), el("tbody", *shown)
    )
    more = len(rows) - MOST_ROWS
    rest = [el("p", f"and {count(more, 'row')} more: --json has them", class_="quiet")] if more > 0 else []
    return join(el("div", body, class_="scroll", tabindex="0", role="region", aria_label=caption), *rest)


def folded(title: str, content: str) -> Markup:
    """Something that is shown when it is asked for."""
    return el("details", el("summary", title), content)
