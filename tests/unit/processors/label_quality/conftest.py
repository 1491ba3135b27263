import polars as pl
import pytest

COLUMNS = {
    "event_id": pl.String,
    "annotator": pl.String,
    "label": None,
    "confidence": pl.Float64,
    "time": pl.Int64,
    "revision": pl.Int64,
    "guidelines_version": pl.String,
}


@pytest.fixture
def labels():
    """Labels on the log: each row is an event, an annotator and a label, and whatever else is named."""

    def make(*rows, kind=None, **columns):
        count = len(rows)
        given = {
            "event_id": [row[0] for row in rows],
            "annotator": [row[1] for row in rows],
            "label": [row[2] for row in rows],
            "confidence": [None] * count,
            "time": list(range(count)),
            "revision": [None] * count,
            "guidelines_version": [None] * count,
            **columns,
        }
        types = {name: type_ for name, type_ in COLUMNS.items() if type_ is not None}
        return pl.DataFrame(given, schema_overrides=types | ({"label": kind} if kind is not None else {}))

    return make


@pytest.fixture
def gold():
    """Events whose label is known."""

    def make(kind=pl.Boolean, **known):
        return pl.DataFrame(
            {"event_id": list(known), "label": list(known.values())}, schema={"event_id": pl.String, "label": kind}
        )

    return make
