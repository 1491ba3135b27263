"""Private fields through the whole loop, in processes of their own: behind the sanity check nobody can find them."""

import hashlib
import hmac
import io
import json
import signal
import time
import zipfile
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer

from tidemill.cli.processes import prepare_cluster
from tidemill.loading import load_pipeline
from tidemill.streams.jobs.status import ENDED
from tidemill.streams.kafka.connection import Connection

SOURCE = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import tidemill as tm

payment = {
    "type": "record", "name": "Payment", "fields": [
        {"name": "id", "type": "string"},
        {"name": "card", "type": "string"},
        {"name": "email", "type": ["null", "string"], "default": None, "private": True},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
        {"name": "small", "type": "long"},
    ],
}
fraud = {
    "type": "record", "name": "Fraud", "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "fraud", "type": "boolean"},
    ],
}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(payment, key="card", time="at", id="id", private=[tm.hashed("card")]),
    checks=[tm.matches("email", "@"), tm.check("number", pl.col("card").str.len_chars() > 3)],
    features=[
        tm.fields("amount"),
        tm.expression(tiny=pl.col("small").cast(pl.Int8)),
        tm.lookup(tm.file_table("cards", "cards.csv", key=["card"]), on=["card"], columns=["limit"]),
        tm.window("card", over="1h", payments=tm.count()),
    ],
    labels=tm.Labels(fraud, id="id", label=pl.col("fraud"), time="at"),
    model=tm.Model(LogisticRegression(), ["amount", "payments"], prior=0.5, search_trials=1),
    profiles=tm.Profiles(window="1h"),
    drift=[tm.data_drift(), tm.rejection_rate()],
    retrain=tm.Retrain(least_labels=600),
    partitions=2,
)
"""
KEY = "0123456789abcdef-of-this-test-alone"
SECRET = "Zq7xWsecretVk3"
COUNT = 1_200


def card(number):
    return f"{SECRET}-card-{number % 5}"


def hashed(value):
    return hmac.new(KEY.encode(), value.encode(), hashlib.sha256).hexdigest()[:32]


def payments(first, count, shift=0.0):
    """Payments, and what became of them half an hour later: the larger, the likelier a fraud."""
    state, start = 7 + first, datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(first, first + count):
        state = (state * 1103515245 + 12345) % 2**31
        amount, at = state / 2**31, start + timedelta(minutes=number)
        state = (state * 1103515245 + 12345) % 2**31
        yield (
            {"id": f"p{number}", "card": card(number), "email": f"ada@{SECRET}.example", "at": at,
             "amount": amount + shift, "small": 1},
            {"id": f"p{number}", "at": at + timedelta(minutes=30), "fraud": state / 2**31 < 0.05 + 0.9 * amount},
        )  # fmt: skip


def texts(path):
    """What a file holds, also where it is packed."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        yield str(pq.read_table(path).to_pylist()).encode()
    else:
        yield from unpacked(data)


def unpacked(data):
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for name in packed.namelist():
                yield packed.read(name)


def topics(mill):
    consumer = Consumer({"bootstrap.servers": mill.bootstrap_servers, "group.id": "test", "log_level": 0})
    names = consumer.list_topics(timeout=10).topics
    consumer.close()
    return [name.removeprefix(f"{mill.name}.") for name in names if name.startswith(f"{mill.name}.")]


def holding(mill, sought):
    """By topic and file: where the text is; of rejections only what is said of them."""
    found = set()
    for suffix in topics(mill):
        parts = []
        for message in mill.read(suffix):
            parts += [value for _, value in message.headers() or () if value]
            if suffix != "rejected":
                parts += [message.key() or b"", message.value() or b""]
        whole = b"".join(parts) if suffix == "model-artefacts" else b""
        if any(sought in part for part in (*parts, *unpacked(whole))):
            found.add(suffix)
    for path in (*mill.home.rglob("*"), mill.folder / "log"):
        if path.is_file() and any(sought in text for text in texts(path)):
            found.add(str(path.relative_to(mill.folder)))
    return found


LOUD = ("--log-level", "DEBUG")
"""What is not said at the loudest is never said."""


@pytest.mark.slow
def test_private_fields_are_nowhere_behind_the_sanity_check(make_mill, monkeypatch):
    monkeypatch.setenv("TIDEMILL_HASH_KEY", KEY)
    cards = "card,limit\n" + "".join(f"{hashed(card(n))},{n}\n" for n in range(5))
    mill = make_mill(SOURCE, **{"cards.csv": cards})

    def wait_for(holds, what, seconds=200):
        deadline = time.monotonic() + seconds
        while not (made := holds()):
            assert time.monotonic() < deadline, f"waited for {what}:\n{mill.log()[-6000:]}"
            time.sleep(0.2)
        return made

    prepare_cluster(load_pipeline(str(mill.file)).plan(), Connection(mill.bootstrap_servers))
    running = [mill.start("run", str(mill.file), *LOUD, "--metrics-port", "0")]
    events, labels = zip(*payments(0, COUNT), strict=True)
    with mill.client() as client:
        client.send_many(events)
        client.flush()
        running.append(mill.start("control", str(mill.file), *LOUD, "--metrics-port", "0"))
        running.append(mill.start("jobs", "run", str(mill.file), *LOUD, "--lineage", "topic", "--backoff", "0.1"))
        client.send_labels(labels)
        client.flush()
        wait_for(lambda: [job for job in client.jobs() if job.state in ENDED], "the first job's end")
        # What is wrong in all ways, from private fields and beside them; then a world that has moved.
        bad = dict(next(payments(COUNT, 1))[0])
        codec = mill.codec_of_events()
        strange = [bad | {"id": "b1", "email": SECRET}, bad | {"id": "b2", "small": 10**6}]
        strange.append(bad | {"id": "b3", "card": SECRET[:3]})
        values = codec.encode_rows(strange)
        mill.produce([(card(0).encode(), value) for value in values])
        mill.produce([(card(0).encode(), SECRET.encode()), (card(1).encode(), values[0][:40] + SECRET.encode())])
        later, answers = zip(*payments(COUNT + 1, 240, shift=3.0), strict=True)
        client.send_many(later)
        client.send_labels([*answers, {"id": "nobody", "at": later[-1]["at"], "fraud": True}])
        client.flush()
        wait_for(lambda: mill.read("drift-alerts"), "an alert")
    found = mill.wait(COUNT + 245)
    said = [a.rejection for (a,) in found.values() if a.rejection]
    assert {each["stage"] for each in said} == {"sanity_check", "feature_enrichment"}
    assert len(said) == 5
    # The keyed hash joins: in a lookup and in a window.
    rows = mill.rows("features")
    assert {(row["event_key"], row["limit"]) for row in rows} == {(hashed(card(n)), n) for n in range(5)}
    assert max(row["payments"] for row in rows) > 5
    page = mill.folder / "page.html"
    shown = mill.cli("explain", mill.name, "p7", "--json") + mill.cli("explain", mill.name, "p7")
    shown += mill.cli("report", str(mill.file), "-o", str(page)) + page.read_text()
    shown += mill.cli("jobs", "list", mill.name, "--json") + mill.cli("datasets", "list", "--json")
    assert SECRET not in shown
    assert KEY not in shown
    job = json.loads(mill.cli("jobs", "list", mill.name, "--json").splitlines()[0])
    assert job["model_version"], job["reason"]
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), mill.log()[-3000:]
    places = holding(mill, SECRET.encode())
    assert places <= {"events"}
    assert "events" in places
    assert holding(mill, KEY.encode()) == set()
    # Where it would have been found: the hash is in topics and in the archive.
    hashes = holding(mill, hashed(card(1)).encode())
    assert "features" in hashes
    assert any(place.startswith("home/archive") for place in hashes), hashes
    assert any("mlflow.db" in str(path) for path in mill.home.rglob("*"))
