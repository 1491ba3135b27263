"""`tidemill labels`: judged, asked again, listed and answered, over a real broker."""

import json
import threading

import pytest

import tidemill as tm
from tidemill.cli.processes import prepare_cluster
from tidemill.loading import load_pipeline
from tidemill.streams.kafka.connection import Connection

REVIEWS = """
import polars as pl
import tidemill as tm

review = {
    "type": "record", "name": "Review", "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
verdict = {
    "type": "record", "name": "Verdict", "fields": [
        {"name": "id", "type": "string"}, {"name": "who", "type": "string"}, {"name": "spam", "type": "boolean"},
    ],
}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(review, key="id", time="at", id="id"),
    labels=tm.Labels(
        verdict, id="id", label=pl.col("spam"), annotator="who",
        annotators=tm.Annotators(least=2, gold="gold.csv", audit=0.5, guidelines_version="3"),
    ),
    partitions=2,
)
"""


@pytest.fixture(scope="module")
def mill(make_mill):
    """Ten reviews that two have labelled alike, one that they have not, and one that one has labelled."""
    mill = make_mill(REVIEWS, **{"gold.csv": "event_id,label\nr0,true\nr1,true\n"})
    prepare_cluster(load_pipeline(str(mill.file)).plan(), Connection(mill.bootstrap_servers))
    with tm.Client(mill.name, mill.bootstrap_servers) as client:
        client.send_labels(
            [{"id": f"r{n}", "who": who, "spam": n % 2 == 0} for n in range(10) for who in ("ada", "bo")]
        )
        client.send_labels([{"id": "split", "who": who, "spam": who == "ada"} for who in ("ada", "bo")])
        client.send_labels([{"id": "few", "who": "ada", "spam": True}])
    return mill


def said(mill, command, *options):
    printed = mill.cli("labels", command, mill.name if command == "requests" else str(mill.file), *options, "--json")
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_labels_are_judged(mill):
    (found,) = said(mill, "quality", "--dawid-skene")
    assert (found["labels"], found["events"], found["disputed_events"]) == (23, 12, 2)
    assert {row["event_id"]: row["dispute"] for row in found["disputed"]} == {"few": "few", "split": "tie"}
    assert found["alpha"] == pytest.approx(1 - 21 * 2 / (2 * 11 * 11))
    assert found["guidelines_versions"] == {"3": 23}
    rows = {row["annotator"]: row for row in found["annotators"]}
    assert (rows["ada"]["labels"], rows["ada"]["gold"], rows["ada"]["gold_right"]) == (12, 2, 1)
    assert 0 < rows["ada"]["dawid_skene"] <= 1
    shown = mill.cli("labels", "quality", str(mill.file), "-n", "1")
    assert "23 labels of 12 events" in shown
    assert "In dispute, 1 of 2" in shown
    (later,) = said(mill, "quality", "--from", "2100-01-01")
    assert (later["labels"], later["alpha"]) == (0, None)


def test_labels_are_asked_for_once_and_answered(mill):
    assert said(mill, "requests") == []
    (first,) = said(mill, "audit")
    assert first["requested"] > 2
    assert first["why"]["dispute"] == 2
    (again,) = said(mill, "audit")
    assert (again["requested"], again["before"]) == (0, first["requested"])
    asked = said(mill, "requests")
    assert len(asked) == first["requested"]
    assert {row["guidelines_version"] for row in asked} == {"3"}
    with tm.Client(mill.name, mill.bootstrap_servers) as client:
        client.send_labels(
            [{"id": row["event_id"], "who": "cy", "spam": True} for row in asked if row["why"] == "dispute"]
        )
    (found,) = said(mill, "quality")
    assert found["disputed"] == []


def test_requests_are_followed(mill):
    seen, come = [], threading.Event()

    def follow():
        with tm.Client(mill.name, mill.bootstrap_servers) as client, client.rows("label-requests", timeout=30) as rows:
            ready.set()
            for row in rows:
                seen.append(row)
                come.set()
                return

    ready = threading.Event()
    thread = threading.Thread(target=follow)
    thread.start()
    assert ready.wait(30)
    with tm.Client(mill.name, mill.bootstrap_servers) as client:
        client.send_labels([{"id": "another", "who": "ada", "spam": True}])
    said(mill, "audit")
    assert come.wait(30)
    thread.join(30)
    assert seen[0]["event_id"] == "another"
