import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.sanity_check import SanityCheck
from tidemill.schemas.batch import Batch, Origin
from tidemill.schemas.contract import Contract


@pytest.fixture(scope="session")
def reading():
    """The contract of a small event; every field but id and time may be null."""
    nullable = {"station": "string", "height": "double", "count": "int", "tide": "string", "due": timestamp("millis")}
    return Contract.parse(
        {
            "type": "record",
            "name": "Reading",
            "namespace": "test",
            "fields": [
                {"name": "id", "type": "string"},
                {"name": "at", "type": timestamp("millis")},
                *({"name": name, "type": ["null", kind], "default": None} for name, kind in nullable.items()),
            ],
        }
    )


def timestamp(unit):
    return {"type": "long", "logicalType": f"timestamp-{unit}"}


@pytest.fixture
def batch(reading):
    """Make a batch of events from dicts.

    Left out fields are null, ids count up, and event time `at` and the record's `sent` are in seconds: by default
    the row's number.
    """

    def make(*events, partitions=None, contract=reading, start=0):
        rows = [{"id": f"e{start + i}", "at": start + i, **event} for i, event in enumerate(events)]
        per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
        columns = []
        for field in contract.arrow:
            values = [row.get(field.name) for row in rows]
            if pa.types.is_timestamp(field.type):
                values = [None if v is None else round(v * per_second[field.type.unit]) for v in values]
                columns.append(pa.array(values, pa.int64()).view(field.type))
            elif pa.types.is_date(field.type):
                columns.append(pa.array(values, pa.int32()).view(field.type))
            else:
                columns.append(pa.array(values, field.type))
        count = len(rows)
        partition = np.array(partitions if partitions is not None else [0] * count, np.int32)
        sent = np.array([row.get("sent", start + i) for i, row in enumerate(rows)], np.float64)
        offset = np.arange(start, start + count, dtype=np.int64)
        origin = Origin(partition, offset, (sent * 1000).astype(np.int64), np.arange(count, dtype=np.int64))
        return Batch(pa.table(columns, schema=contract.arrow), origin)

    return make


@pytest.fixture
def sanity(reading):
    """Make the stage for the checks given."""

    def make(*checks, contract=reading, **options):
        return SanityCheck(contract, event_id="id", event_time="at", checks=checks, **options)

    return make


@pytest.fixture
def ids():
    """The ids of the events that a stage accepted."""

    def read(processed):
        return processed.accepted.table["id"].to_pylist()

    return read


@pytest.fixture
def reasons():
    """Row and reason of each rejection."""

    def read(processed):
        return [(rejection.row, rejection.reason) for rejection in processed.rejected]

    return read


@pytest.fixture
def contract_with():
    """The event's contract with one more field `x`."""

    def make(kind, constraints=None):
        extra = {"name": "x", "type": kind} | ({"constraints": constraints} if constraints else {})
        fields = [{"name": "id", "type": "string"}, {"name": "at", "type": timestamp("millis")}, extra]
        return Contract.parse({"type": "record", "name": "Event", "fields": fields})

    return make
