"""Whatever producers send, every message ends as one prediction or one rejection."""

import importlib
import random
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MESSAGES = 20_000
REASONS = {
    "empty_value", "too_large", "unknown_framing", "unknown_schema", "incompatible_schema", "undecodable",
    "invalid_utf8", "surplus_bytes", "out_of_range", "not_in_set", "check_failed", "in_future", "duplicate_id",
    "model_raised",
}  # fmt: skip
# What the compiled reader does not know, so that the other one reads it.
WIDE = {
    "type": "record",
    "name": "Wide",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "more", "type": {"type": "map", "values": ["null", "double"]}},
        {"name": "place", "type": {"type": "record", "name": "Place", "fields": [{"name": "x", "type": "float"}]}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "raw", "type": {"type": "fixed", "name": "Raw", "size": 4}},
    ],
}


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    """The generator and the mill of `make fuzz`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMILL_HOME", str(tmp_path_factory.mktemp("home")))
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("fuzz"), importlib.import_module("mutations")


def test_every_message_has_one_answer_and_all_reasons_occur(benchmarks):
    fuzz, _ = benchmarks
    mill = fuzz.Mill(fuzz.declare())
    for first in range(0, MESSAGES, MESSAGES // 2):
        mill.feed(first, MESSAGES // 2, share=0.5)
    assert mill.reasons.total() == MESSAGES
    assert set(mill.reasons) - {"too_late"} == REASONS | {"predicted"}
    assert mill.reasons["predicted"] > MESSAGES / 3


@pytest.mark.parametrize("stages", ["all", "each"])
def test_schemas_of_every_shape_are_as_safe(benchmarks, stages):
    _, mutations = benchmarks
    pipeline = tm.Pipeline(
        "wide",
        tm.Events(WIDE, key="id", time="at", id="id"),
        features=[tm.fields("kind", "day"), tm.window("id", over="1h", earlier=tm.count())],
    )
    driver = tm.testing.Driver(pipeline, stages=stages)
    rows = [
        {
            "id": f"w{number % 400}",
            "at": datetime(2024, 1, 1, tzinfo=UTC),
            "day": date(2024, 1, 1) if number % 2 else None,
            "kind": "ab"[number % 2],
            "tags": ["x"] * (number % 3),
            "more": {"m": 1.0, "n": None},
            "place": {"x": 0.5},
            "price": Decimal("12.50"),
            "raw": b"\x00\x01\x02\x03",
        }
        for number in range(3_000)
    ]
    chance = random.Random(3)
    for number, value in enumerate(Codec(driver.plan.contracts["events"], KnownSchemas()).encode_rows(rows)):
        mutate = chance.choice(list(mutations.BYTES.values()))
        key, value, headers = mutate(b"k", value, chance) if number % 2 else (b"k", value, None)
        driver.send_bytes(value, key=key, headers=headers)
    driver.run()
    answers = Counter((r.partition, r.offset) for r in driver.rejections())
    events = Counter((r.partition, r.offset) for r in driver.records("events"))
    assert answers == events
    assert len(driver.features()) >= 1_500
