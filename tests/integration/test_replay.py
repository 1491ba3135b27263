"""`tidemill replay` of what workers have served on a real Kafka."""

import json
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from tidemill.loading import load_pipeline
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas

RATES = """        tm.lookup(
            tm.topic_table("rates", tm.Contract.parse({"type": "record", "name": "Rate", "fields": [
                {"name": "city", "type": "string"}, {"name": "rate", "type": ["null", "double"], "default": None}]}),
                key=["city"]),
            on=["city"], columns=["rate"]),
        # more features
"""


@pytest.fixture(scope="module")
def served(make_mill, orders):
    """1,200 orders and some garbage, answered by three workers in turn while the reference table changed."""
    mill = make_mill()
    mill.declare(mill.file.read_text().replace("        # more features\n", RATES))
    for part in range(3):
        # Each of them restores what the one before it knew.
        with mill.worker():
            put_rates(mill, {"Aachen": float(part), "Bonn": None if part == 1 else 10.0 + part})
            mill.send(orders.make(400, seed=part, start=400 * part))
            produce(mill, "events", b"junk", key=b"c1")
            mill.wait(401 * (part + 1))
    return mill


def put_rates(mill, rates):
    """What a producer of reference data does; None deletes."""
    contract = load_pipeline(str(mill.file)).plan().topic_tables[0].contract
    codec = Codec(contract, KnownSchemas())
    for city, rate in rates.items():
        value = None if rate is None else codec.encode_rows([{"city": city, "rate": rate}])[0]
        produce(mill, "table-rates", value, key=city.encode())


def produce(mill, suffix, value, **more):
    producer = Producer({"bootstrap.servers": mill.bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(f"{mill.name}.{suffix}", value, **more)
    assert producer.flush(30) == 0


def replay(mill, *options, code=0):
    return json.loads(mill.cli("replay", str(mill.file), "--json", *options, code=code).splitlines()[0])


def test_what_was_served_comes_out_again_byte_by_byte(served):
    found = replay(served, "--compare")
    features = served.rows("features")
    assert len({row["rates_version"] for row in features}) >= 2
    assert found["holds"]
    assert found["events"] == 1_203
    assert found["features"] == found["compared"] == found["equal"] == len(features)
    assert [found[name] for name in ("different", "missing", "surplus", "waiting", "expired")] == [0] * 5
    assert found["rejected"]["sanity_check: unknown_framing"] == 3
    assert found["features"] + sum(found["rejected"].values()) == 1_203


def test_a_range_of_one_partition(served):
    found = replay(served, "--compare", "--partition", "1", "--from-offset", "10", "--to-offset", "20")
    assert (found["events"], [p["partition"] for p in found["partitions"]]) == (10, [1])
    inside = [r for r in served.rows("features") if r["source_partition"] == 1 and 10 <= r["source_offset"] < 20]
    assert found["equal"] == len(inside)


def test_a_range_of_time(served):
    events = served.read("events")
    middle = sorted(message.timestamp()[1] for message in events)[len(events) // 2]
    at = f"@{middle / 1000}"
    assert "expected a time such as" in served.cli("replay", str(served.file), "--from", at, code=2)
    text = datetime.fromtimestamp(middle / 1000, UTC).isoformat()
    later, earlier = replay(served, "--compare", "--from", text), replay(served, "--compare", "--until", text)
    assert later["events"] == sum(message.timestamp()[1] >= middle for message in events)
    assert later["events"] + earlier["events"] == 1_203
    assert later["holds"]
    assert earlier["holds"]


def test_for_people(served):
    said = served.cli("replay", str(served.file), "--compare")
    assert "every compared feature is the same, byte by byte" in said
    assert "rejected, sanity_check: out_of_range: " in said


def test_another_version_is_not_compared_but_can_be_counted(served):
    source = served.file.read_text()
    version = load_pipeline(str(served.file)).plan().version
    changed = served.folder / "changed.py"
    changed.write_text(source.replace("0, 1000", "0, 500"))
    refusal = served.cli("replay", str(changed), "--compare", code=2)
    assert version in refusal
    assert load_pipeline(str(changed)).plan().version in refusal
    found = json.loads(served.cli("replay", str(changed), "--json").splitlines()[0])
    assert found["rejected"]["sanity_check: out_of_range"] > 400
    assert "holds" not in found


def test_nothing_was_written(served):
    before = {suffix: len(served.read(suffix)) for suffix in ("validated", "features", "rejected", "changelog")}
    replay(served)
    assert {suffix: len(served.read(suffix)) for suffix in before} == before


def test_a_difference_is_named_with_both_values(served):
    """The last of the tests: it spoils the topic."""
    message = served.read("features")[0]
    codec = served.codec("features")
    (row,) = codec.decode([message.value()]).table.to_pylist()
    spoilt = codec.encode_rows([row | {"total": -1.5}])[0]
    produce(served, "features", spoilt, key=message.key(), partition=message.partition())
    found = replay(served, "--compare", code=1)
    assert (found["holds"], found["different"]) == (False, 1)
    (shown,) = [d for p in found["partitions"] for d in p["differences"] if d["field"] == "total"]
    assert (shown["offset"], shown["replayed"], shown["found"]) == (row["source_offset"], row["total"], -1.5)
    said = served.cli("replay", str(served.file), "--compare", code=1)
    place = f"{served.name}.events[{row['source_partition']}]@{row['source_offset']}"
    assert f"different: {place} total: replayed {row['total']}, found -1.5" in said
