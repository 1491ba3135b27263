import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tidemill.processors.feature_enrichment import FeatureEnrichment, ReferenceTable
from tidemill.schemas.batch import Batch, Origin
from tidemill.schemas.contract import Contract


@pytest.fixture(scope="session")
def flight():
    """The contract of a small event."""
    nullable = [
        ("tail_number", "string"),
        ("delay", "double"),
        ("distance", "int"),
        ("comment", "string"),
        ("photo", "bytes"),
    ]
    return Contract.parse(
        {
            "type": "record",
            "name": "Flight",
            "namespace": "test",
            "fields": [
                {"name": "id", "type": "long"},
                {"name": "departure", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "origin", "type": "string"},
                *({"name": name, "type": ["null", kind], "default": None} for name, kind in nullable),
            ],
        }
    )


@pytest.fixture
def batch(flight):
    """Make a batch of events from dicts; what is left out is null, ids count up, and departures are in minutes."""

    def make(*events, partitions=None, start=0):
        rows = [
            {
                "id": start + i,
                "origin": "EWR",
                "tail_number": "N1",
                **event,
                "departure": event.get("departure", i) * 60_000,
            }
            for i, event in enumerate(events)
        ]
        table = pa.Table.from_pylist(
            [{name: row.get(name) for name in flight.arrow.names} for row in rows], schema=flight.arrow
        )
        count = len(rows)
        partition = np.array(partitions if partitions is not None else [0] * count, np.int32)
        offset = np.arange(start, start + count, dtype=np.int64)
        return Batch(table, Origin(partition, offset, offset * 1000, np.arange(count, dtype=np.int64)))

    return make


@pytest.fixture
def enrichment(flight):
    """Make the stage for the features given."""

    def make(*features, tables=(), **roles):
        roles = {"id_field": "id", "key_field": "tail_number", "time_field": "departure", "version": "v1", **roles}
        return FeatureEnrichment(features, flight, tables={table.name: table for table in tables}, **roles)

    return make


@pytest.fixture
def weather():
    """A table of a file: by origin and hour."""
    rows = pa.table(
        {
            "place": ["EWR", "EWR", "JFK", "JFK"],
            "hour": pa.array([0, 1, 0, None], pa.int64()),
            "wind": pa.array([10.5, None, 3.0, 99.0], pa.float32()),
            "sky": ["clear", "rain", "fog", "?"],
        }
    )
    table = ReferenceTable("weather", rows.schema, ["place", "hour"])
    table.replace(rows)
    return table


@pytest.fixture
def planes():
    """A table of a topic: by tail number."""
    schema = pa.schema([("tail_number", pa.string()), ("seats", pa.int32()), ("engine", pa.string())])
    return ReferenceTable("planes", schema, ["tail_number"], version=0)


@pytest.fixture
def frame():
    return pl.DataFrame({"text": ["1", "2", "x", "4", "y", "6"]})
