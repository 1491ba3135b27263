"""Predictions of the flights example, and their labels: made up by number, so that a label finds its prediction.

Fifty events a second: what a horizon of three days keeps is more than ten million.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.outcomes.join import label_schema
from tidemill.processors.outcomes.predictions import EVENT_ID

START = 1_357_016_400_000_000
APART = 20_000
PARTITIONS = 4
CARRIERS = pa.array(["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL", "AS", "F9", "YV", "HA", "OO"])
ORIGINS = pa.array(["EWR", "JFK", "LGA"])


def predictions(schema: pa.Schema, first: int, count: int) -> pa.Table:
    """The predictions from number `first` on, in these columns of the outcomes stage."""
    numbers = np.arange(first, first + count)
    rng = np.random.default_rng(first)
    score = rng.random(count)
    made: dict[str, Any] = {
        EVENT_ID: _ids(numbers),
        "event_time": _times(numbers),
        "source_partition": numbers % PARTITIONS,
        "source_offset": numbers // PARTITIONS,
        "departure_delay": np.round(rng.exponential(30, count)) - 15,
        "distance": rng.integers(80, 4_983, count),
        "scheduled_minutes": rng.integers(30, 700, count),
        "hour_of_day": rng.integers(0, 24, count),
        "wind_speed": rng.integers(0, 40, count) * 1.15078,
        "visibility": np.round(rng.random(count) * 10, 2),
        "precip": np.where(rng.random(count) < 0.9, 0, np.round(rng.random(count), 2)),
        "plane_age": pa.array(rng.integers(0, 58, count), mask=rng.random(count) < 0.15),
        "earlier_flights": rng.integers(0, 8, count),
        "earlier_delay": pa.array(rng.normal(10, 40, count), mask=rng.random(count) < 0.4),
        "airport_departures": rng.integers(0, 90, count),
        "airport_delay": pa.array(rng.normal(12, 20, count), mask=rng.random(count) < 0.01),
        "carrier": CARRIERS.take(pa.array(numbers * 7 % len(CARRIERS))),
        "origin": ORIGINS.take(pa.array(numbers % len(ORIGINS))),
        "model_version": pa.array([f"2013-01-{first // 1_000_000 + 1:02d}T00:00:00Z-3f9c2b1a"] * count),
        "value": score > 0.5,
        "probability_false": 1 - score,
        "probability_true": score,
    }
    columns = [pa.array(made[field.name]).cast(field.type, safe=False) for field in schema]
    return pa.table(columns, schema=schema)


def label_columns(label: pa.DataType) -> pa.Schema:
    """What the labels' intake writes."""
    return pa.schema([pa.field(EVENT_ID, pa.string(), nullable=False), *label_schema(label)])


def labels(schema: pa.Schema, numbers: Any) -> pa.Table:
    """The labels of these predictions; who labelled them is not told, as in the example."""
    made: dict[str, Any] = {
        EVENT_ID: _ids(numbers),
        "label": numbers % 5 == 0,
        "label_time": _times(numbers) + 10_800_000_000,
        "revision": np.zeros(len(numbers), np.int64),
        "partition": numbers % PARTITIONS,
        "offset": numbers // PARTITIONS,
        "record_time": _times(numbers) // 1_000,
    }
    nothing = [None] * len(numbers)
    return pa.table([pa.array(made.get(field.name, nothing)).cast(field.type) for field in schema], schema=schema)


def _times(numbers: Any) -> Any:
    return START + numbers * APART


def _ids(numbers: Any) -> pa.Array:
    """As in 2013-01-01.UA.1545.EWR.7654321: a year has fewer flights."""
    days = np.datetime64("2013-01-01") + numbers // 900 % 365
    parts = [
        pa.array(days).cast(pa.string()),
        CARRIERS.take(pa.array(numbers * 7 % len(CARRIERS))),
        pa.array(numbers * 7_919 % 6_999 + 1).cast(pa.string()),
        ORIGINS.take(pa.array(numbers % len(ORIGINS))),
        pa.array(numbers).cast(pa.string()),
    ]
    return pc.binary_join_element_wise(*parts, ".")
