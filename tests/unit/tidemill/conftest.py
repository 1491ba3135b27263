import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm


def schema(name, **fields):
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields.items()]}


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
EVENT = schema(
    "Reading", id="string", station=["null", "string"], at=MILLIS, height=["null", "double"], due=["null", MILLIS]
)
LABEL = schema("Flood", id="string", over=["null", "int"])


@pytest.fixture
def declare():
    """Declare a small pipeline; what is given replaces or adds to its parts."""

    def make(name="tides", *, events=None, contract=EVENT, **parts):
        roles = {"key": "station", "time": "at", "id": "id", **(events or {})}
        given = {
            "checks": [tm.between("height", 0, 9)],
            "features": [tm.fields("height"), tm.window("station", "1h", seen=tm.count())],
            "labels": tm.Labels(LABEL, id="id", label=pl.col("over") > 0),
            "model": tm.Model(LogisticRegression(), ["height", "seen"], prior=0.5),
            **parts,
        }
        return tm.Pipeline(name, tm.Events(contract, **roles), **given)

    return make


@pytest.fixture
def schemas():
    """Make a schema as a dict."""
    return schema
