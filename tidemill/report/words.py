"""Figures and verdicts as people read them; always the same text for the same number."""

import math
from datetime import UTC, datetime

from tidemill.processors.drift import CategorySketch, NumberSketch
from tidemill.report.view import CategoryShare

DAY = 86_400_000
_LARGE = 2.5
_SLIGHT = 0.5
_UNITS = ((DAY, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))


def figure(value: float | None) -> str:
    """Three significant digits, a comma for thousands.

    >>> figure(0.01234), figure(12345.6), figure(-3.0), figure(1e-9), figure(None)
    ('0.0123', '12,346', '−3', '1e-09', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    if value < 0:
        return f"−{figure(-value)}"
    if value >= 1e12 or value < 1e-4:
        return f"{value:.3g}"
    if value >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float | None) -> str:
    """A share in percent, with a decimal where it is small.

    >>> percent(0.5), percent(0.0123), percent(0.0), percent(0.00001), percent(None)
    ('50 %', '1.2 %', '0 %', '< 0.1 %', '–')
    """
    if share is None or math.isnan(share):
        return "–"
    if 0 < share < 0.001:
        return "< 0.1 %"
    digits = 1 if 0 < share < 0.1 or 0.9 < share < 1 else 0
    return f"{share * 100:.{digits}f} %".replace(".0 %", " %")


def count(rows: int, noun: str) -> str:
    """So many of something.

    >>> count(1, "window"), count(1200, "window")
    ('1 window', '1,200 windows')
    """
    return f"{rows:,} {noun}" + ("" if rows == 1 else "s")


def length(milliseconds: int) -> str:
    """A span in its largest unit that fits.

    >>> length(86_400_000), length(5_400_000)
    ('1 day', '90 minutes')
    """
    size, name = next(((size, name) for size, name in _UNITS if milliseconds and milliseconds % size == 0), (1, "ms"))
    return f"{milliseconds} ms" if size == 1 else count(milliseconds // size, name)


def moment(milliseconds: int) -> str:
    """A time in UTC; midnight is a date alone."""
    form = "%Y-%m-%d" if milliseconds % DAY == 0 else "%Y-%m-%d %H:%M"
    return instant(milliseconds).strftime(form)


def between(start: int, end: int) -> str:
    """A stretch of time; whole days end with the last one."""
    if start % DAY == 0 and end % DAY == 0:
        last = end - DAY
        return moment(start) if last <= start else f"{moment(start)} to {moment(last)}"
    return f"{moment(start)} to {moment(end)}"


def instant(milliseconds: int) -> datetime:
    """A time in UTC, kept within what a calendar holds."""
    return datetime.fromtimestamp(min(max(milliseconds / 1000, -62_135_596_800), 253_402_300_799), UTC)


def verdict(effect: float | None, threshold: float | None, alarm: bool, missing: str = "") -> str:
    """What a distance means; `missing` says what is wrong with the missing values."""
    if effect is None or threshold is None:
        return "no reference to compare with"
    ratio = abs(effect) / threshold if threshold else 0.0
    if alarm:
        return ("changed greatly" if ratio >= _LARGE else "changed") + (f", {missing}" if missing else "")
    if missing:
        return missing
    if ratio >= 1:
        return "may have changed, too few rows to tell"
    return "slightly different, below the threshold" if ratio >= _SLIGHT else "as in the reference"


def number_change(reference: NumberSketch | None, now: NumberSketch) -> str:
    """Where the middle and the bulk of the numbers went."""
    if not now.count:
        return "no values now"
    then = reference if reference is not None and reference.count else now
    return (
        f"median {_step(_quantile(then, 0.5), _quantile(now, 0.5))};"
        f" 5th to 95th percentile {_step(_bulk(then), _bulk(now))}"
    )


def category_change(reference: CategorySketch | None, now: CategorySketch, shown: tuple[CategoryShare, ...]) -> str:
    """The category whose share has changed most."""
    if not now.count:
        return "no values now"
    if reference is None or not reference.count:
        return f"{len(now.counts):,} categories" if len(now.counts) != 1 else "1 category"
    most = max(shown, key=lambda entry: abs(entry.now - (entry.reference or 0.0)), default=None)
    return "" if most is None else f"{most.name}: {percent(most.reference)} → {percent(most.now)}"


def _bulk(sketch: NumberSketch) -> str:
    return f"{_quantile(sketch, 0.05)} to {_quantile(sketch, 0.95)}"


def _quantile(sketch: NumberSketch, share: float) -> str:
    """A quantile as far as it is known, to 1 %; a whole number where the range lets expect one."""
    value = sketch.quantile(share)
    whole = not (sketch.minimum % 1 or sketch.maximum % 1) and abs(value) >= 0.5
    return figure(round(value) if whole else value)


def _step(then: str, now: str) -> str:
    return now if then == now else f"{then} → {now}"
