"""HTML and SVG as text that is escaped by construction: whatever is not markup already becomes plain text."""

import html
import unicodedata

VOID = frozenset({"br", "meta", "link", "hr"})
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Markup(str):
    """Text that is markup; made by `el`, `raw` and `join` alone."""

    __slots__ = ()


def raw(text: str) -> Markup:
    """Markup of our own making; never of what users have sent."""
    return Markup(text)


def join(*parts: str) -> Markup:
    """Parts one after the other; those that are not markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def text(value: str) -> Markup:
    """Text as it is to be read: escaped, and what cannot be seen or turns the direction replaced.

    >>> text("<b>&" + chr(0x202E)) == "&lt;b&gt;&amp;" + chr(0xFFFD)
    True
    """
    seen = "".join(each if unicodedata.category(each) not in _UNSEEN else _stand_in(each) for each in value)
    return Markup(html.escape(seen, quote=True))


def _stand_in(unseen: str) -> str:
    return " " if unseen in "\n\r\t" else "\ufffd"


def short(value: str, most: int) -> str:
    """Text of at most so many characters.

    >>> short("departure", 6)
    'depar…'
    """
    return value if len(value) <= most else value[: most - 1] + "…"


def el(tag: str, /, *content: str, **attributes: str | float | bool | None) -> Markup:
    """An element. Underscores of attributes become hyphens (one at the end goes), numbers are rounded to hundredths.

    Attributes that are None or False are left out, True stands alone.

    >>> el("a", "<b>", href="#x", class_="k", hidden=True)
    '<a href="#x" class="k" hidden>&lt;b&gt;</a>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(*content)}</{tag}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-") if key != "viewBox" else key
    if value is True:
        return f" {name}"
    shown = text(value) if isinstance(value, str) else number(value)
    return f' {name}="{shown}"'


def number(value: float) -> str:
    """A coordinate, the same text everywhere.

    >>> number(3), number(2.5), number(-0.001)
    ('3', '2.5', '0')
    """
    rounded = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if rounded == "-0" else rounded
