"""The archive over a log in memory: each message once, whatever stands in the way."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.schemas.errors import DeclarationError, StreamError
from tidemill.streams.archive import Ages, Archive, add_up
from tidemill.streams.archive_columns import require_fit, stored_schema, stored_type
from tidemill.streams.archive_table import ArchiveTable, Overtaken
from tidemill.streams.archive_upkeep import maintain
from tidemill.streams.datasets import DatasetStore, build_dataset
from tidemill.streams.memory import MemoryReader, MemorySender
from tidemill.streams.schema_topic import publish_contracts

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "value", "type": "float"},
        {"name": "items", "type": "int"},
    ],
}
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "paid", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def make_pipeline(*more, publish=("validated", "features", "predictions", "outcomes")):
    return tm.Pipeline(
        "shop",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        features=[tm.fields("value", "items"), tm.window("customer", over="1h", orders=tm.count()), *more],
        labels=tm.Labels(
            PAYMENT, id="id", label=pl.col("paid"), classes=["no", "yes"], time="at", within="2h", changed="revise"
        ),
        model=tm.Model(LogisticRegression(), features=["value", "orders"], prior={"no": 0.25, "yes": 0.75}),
        partitions=2,
        publish=publish,
    )


class Shop:
    """A pipeline in memory, and its archive."""

    def __init__(self, root, pipeline=None):
        self.driver = tm.testing.Driver(pipeline or make_pipeline())
        self.archive = Archive(str(root), batch=37)
        self.count = 0

    @property
    def plan(self):
        return self.driver.plan

    @property
    def reader(self):
        return MemoryReader(self.driver.log)

    def sell(self, count):
        for number in range(self.count, self.count + count):
            order = {"id": f"o{number}", "customer": f"c{number % 5}", "at": self.driver.now}
            self.driver.send(order | {"value": number / 4, "items": number})
            if number % 3:
                label = {"id": f"o{number}", "paid": "yes" if number % 2 else "no"}
                self.driver.send_labels(label | {"at": self.driver.now + timedelta(minutes=1)})
            self.driver.advance(timedelta(seconds=30))
        self.driver.run()
        self.count += count

    def catch_up(self, **options):
        return self.archive.catch_up(self.plan, self.reader, self.driver._schemas, **options)

    def archived(self, suffix):
        return self.archive.table(suffix).read().sort_by([("_partition", "ascending"), ("_offset", "ascending")])

    def sent(self, suffix):
        reader, topic = self.reader, self.plan.topic(suffix)
        return [(r.partition, r.offset) for p in reader.partitions(topic) for r in reader.read(topic, p)]


def places(table):
    return list(zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True))


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path / "archive")
    made.sell(60)
    return made


def test_all_is_archived_as_it_was_sent(shop):
    done = shop.catch_up()
    assert {suffix: each.rows for suffix, each in done.items()} == {"features": 60, "predictions": 60, "outcomes": 40}
    for suffix, each in done.items():
        table = shop.archived(suffix)
        assert places(table) == shop.sent(suffix)
        assert each.positions == {p: shop.reader.end(shop.plan.topic(suffix), p) for p in (0, 1)}
        assert each.unreadable == each.missed == 0
    rows = shop.archived("features").sort_by("items").to_pylist()
    assert [row["value"] for row in rows] == [n / 4 for n in range(60)]
    assert rows[0]["_timestamp"] == rows[0]["event_time"] == datetime(2024, 1, 1, tzinfo=UTC)


def test_it_goes_on_where_it_stands(shop):
    first = shop.catch_up()
    assert all(each.rows == 0 for each in shop.catch_up().values())
    shop.sell(10)
    second = Archive(shop.archive.root).catch_up(shop.plan, shop.reader, shop.driver._schemas)
    assert second["features"].rows == 10
    assert places(shop.archived("outcomes")) == shop.sent("outcomes")
    total = add_up(add_up({}, first), second)
    assert total["features"].rows == 70
    assert total["features"].version == second["features"].version


def test_it_stops_after_the_commit_under_way(shop):
    done = shop.catch_up(stop=lambda: True)
    assert {suffix: each.rows for suffix, each in done.items()} == {"features": 37, "predictions": 37, "outcomes": 37}
    shop.catch_up()
    assert places(shop.archived("features")) == shop.sent("features")


def test_progress_is_told(shop):
    seen = []
    shop.catch_up(progress=seen.append)
    assert sum(seen) == 160


def test_two_at_once_write_each_row_once(shop, monkeypatch):
    other = Archive(shop.archive.root, batch=11)
    append, interrupted = ArchiveTable.append, []

    def meanwhile(self, *args):
        # Another archiver commits between the look at the table and the commit.
        if len(interrupted) < 4:
            interrupted.append(self.uri)
            stops = iter([True] * 9)
            other.catch_up(shop.plan, shop.reader, shop.driver._schemas, stop=lambda: next(stops))
        return append(self, *args)

    monkeypatch.setattr(ArchiveTable, "append", meanwhile)
    shop.catch_up()
    for suffix in ("features", "predictions", "outcomes"):
        assert places(shop.archived(suffix)) == shop.sent(suffix)


def test_delta_refuses_a_commit_that_another_has_made_meanwhile(shop, monkeypatch):
    """Not our comparison of positions, which is quicker, but the log of the table decides."""
    shop.catch_up(stop=lambda: True)
    table = shop.archive.table("features")
    topic = shop.plan.topic("features")
    stale, former = table.open(), table.standing(topic, [0, 1]).positions
    shop.catch_up()
    monkeypatch.setattr(table, "open", lambda: stale)
    with pytest.raises(Overtaken, match=r"[Cc]oncurrent"):
        table.append(topic, shop.archived("features").slice(0, 3), former, former | {0: former[0] + 3})
    monkeypatch.undo()
    assert places(shop.archived("features")) == shop.sent("features")


def test_whoever_never_gets_through_says_so(shop, monkeypatch):
    def refuse(*_):
        raise Overtaken("somebody was quicker")

    monkeypatch.setattr(ArchiveTable, "append", refuse)
    with pytest.raises(StreamError, match="20 commits in turn were refused: somebody was quicker"):
        shop.catch_up()


def test_unreadable_messages_are_passed_over_and_counted(shop, caplog):
    shop.driver.log.append(shop.plan.topic("features"), b"k", b"not avro", partition=1)
    shop.sell(3)
    done = shop.catch_up()
    assert done["features"].unreadable == 1
    assert done["features"].rows == 63
    assert "shop.features[1]@" in caplog.text
    assert all(each.rows == 0 for each in shop.catch_up().values())


def test_what_retention_took_is_told(shop, caplog):
    shop.catch_up()
    shop.sell(20)
    topic = shop.plan.topic("features")
    at = shop.archive.table("features").standing(topic, [0]).positions[0]
    shop.driver.log.delete_before(topic, 0, at + 2)
    done = shop.catch_up()
    assert done["features"].missed == 2
    assert "retention deleted 2 offsets" in caplog.text


def test_another_topic_of_the_same_name_is_refused(shop, tmp_path):
    shop.catch_up()
    other = Shop(tmp_path / "archive")
    other.sell(5)
    with pytest.raises(StreamError, match="another folder"):
        other.catch_up()


def test_a_topic_that_has_lost_messages_is_refused(shop, tmp_path, monkeypatch):
    shop.catch_up()
    monkeypatch.setattr(MemoryReader, "identity", None, raising=False)
    other = Shop(tmp_path / "archive")
    other.sell(5)
    reader = other.reader
    del reader.identity
    with pytest.raises(StreamError, match="is archived up to"):
        other.archive.catch_up(other.plan, reader, other.driver._schemas)


def test_a_new_feature_is_a_new_column(tmp_path):
    shop = Shop(tmp_path / "archive")
    shop.sell(9)
    old = shop.plan
    shop.catch_up()
    shop.driver.pipeline = make_pipeline(tm.expression(double=pl.col("value") * 2))
    shop.driver.restart()
    publish_contracts("shop", shop.plan.contracts, shop.driver._schemas, MemorySender(shop.driver.log))
    shop.sell(5)
    # Also by whoever still has the former declaration: the published contract decides.
    shop.archive.catch_up(old, shop.reader, shop.driver._schemas)
    rows = shop.archived("features").sort_by("items").to_pylist()
    assert [row["double"] for row in rows] == [None] * 9 + [n / 2 for n in range(9, 14)]
    # And by whoever knows a later one than was published: nothing is lost, nothing doubled.
    assert shop.archive.catch_up(make_pipeline().plan(), shop.reader, shop.driver._schemas)["features"].rows == 0


def test_only_what_is_published_is_archived(tmp_path):
    shop = Shop(tmp_path / "archive", make_pipeline(publish=("predictions",)))
    shop.sell(4)
    assert list(shop.catch_up()) == ["predictions"]


def test_a_changed_type_is_refused_in_words():
    there = stored_schema(pa.schema([("a", pa.int32()), ("b", pa.list_(pa.int32()))]))
    require_fit("x", there, stored_schema(pa.schema([("a", pa.int64()), ("b", pa.list_(pa.int64()))])))
    with pytest.raises(StreamError, match="'a' is stored as int64, but the contract has it as double"):
        require_fit("x", there, stored_schema(pa.schema([("a", pa.float64())])))


def test_names_that_cannot_be_columns_are_refused():
    with pytest.raises(DeclarationError, match="_offset"):
        stored_schema(pa.schema([("_offset", pa.int64())]))
    with pytest.raises(DeclarationError, match="'a' and 'A'"):
        stored_schema(pa.schema([("a", pa.int64()), ("A", pa.int64())]))


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (pa.int32(), pa.int64()),
        (pa.float32(), pa.float64()),
        (pa.time32("ms"), pa.int64()),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ns", "UTC"), pa.int64()),
        (pa.binary(4), pa.binary()),
        (pa.null(), pa.string()),
        (pa.decimal128(9, 2), pa.decimal128(9, 2)),
        (pa.date32(), pa.date32()),
        (pa.bool_(), pa.bool_()),
        (pa.list_(pa.int32()), pa.list_(pa.int64())),
        (pa.map_(pa.string(), pa.int32()), pa.map_(pa.string(), pa.int64())),
        (pa.struct([("x", pa.float32())]), pa.struct([("x", pa.float64())])),
    ],
)
def test_every_type_can_be_stored(kind, stored, tmp_path):
    assert stored_type(kind) == stored
    schema = stored_schema(pa.schema([("x", kind)]))
    table = ArchiveTable(str(tmp_path / "table"))
    table.create("t", "", schema, timedelta(days=1))
    rows = schema.empty_table()
    values = {pa.int64(): 7, pa.float64(): 0.1, pa.string(): None, pa.binary(): b"abcd", pa.bool_(): True}
    if stored in values:
        rows = pa.table([[values[stored]], [0], [0], [0]], schema=schema)
    table.append("t", rows, {0: 0}, {0: 1})
    assert table.read().num_rows == rows.num_rows
    assert table.standing("t", [0]).positions == {0: 1}


def test_upkeep_joins_files_and_keeps_what_data_sets_name(shop):
    for _ in range(5):
        shop.sell(6)
        shop.catch_up()
    store = DatasetStore(shop.archive)
    made = build_dataset(shop.archive, shop.plan)
    store.save(made)
    shop.archive.ages = Ages(versions="0s")
    # By a clock that stands before the data set was saved: it is young.
    done = maintain(shop.archive, datetime(2000, 1, 1, tzinfo=UTC), many_files=2)
    assert done["outcomes"].compacted > 2
    assert done["features"].removed > 2
    assert shop.archive.table("outcomes").files() == 1
    assert places(shop.archived("outcomes")) == shop.sent("outcomes")
    version = made.manifest["tables"]["outcomes"]["version"]
    assert shop.archive.table("outcomes").read(version=version).num_rows == 60
    with pytest.raises(StreamError, match="version 1 cannot be read"):
        shop.archive.table("features").read(version=1)
    shop.sell(3)
    shop.catch_up()
    assert store.rebuild(made.id).to_bytes() == made.to_bytes()


def test_a_data_set_outlives_its_version_by_its_offsets(shop):
    for _ in range(3):
        shop.sell(6)
        shop.catch_up()
    store = DatasetStore(shop.archive)
    made = build_dataset(shop.archive, shop.plan, features=["value", "orders", "items"])
    store.save(made)
    shop.sell(9)
    shop.catch_up()
    shop.archive.ages = Ages(versions="0s")
    maintain(shop.archive, LATER, many_files=2)
    version = made.manifest["tables"]["outcomes"]["version"]
    with pytest.raises(StreamError, match=rf"version {version} cannot be read"):
        shop.archive.table("outcomes").open(version)
    assert store.rebuild(made.id[:6]).to_bytes() == made.to_bytes()


@pytest.mark.parametrize("features", [["value", "orders", "items"], ["orders", "value", "items"]])
def test_a_data_set_is_built_again_in_whichever_order_features_were_named(shop, features):
    shop.catch_up()
    made = build_dataset(shop.archive, shop.plan, features=features)
    store = DatasetStore(shop.archive)
    store.save(made)
    assert store.rebuild(made.id).to_bytes() == made.to_bytes()


def test_rows_are_forgotten_by_age_and_the_loss_is_told(shop):
    shop.catch_up()
    store = DatasetStore(shop.archive)
    made = build_dataset(shop.archive, shop.plan)
    store.save(made)
    shop.archive.ages = Ages(rows="10m", versions="0s")
    now = shop.driver.now
    done = maintain(shop.archive, now, many_files=2)
    assert done["features"].forgotten > 30
    assert shop.archived("features")["_timestamp"].to_pylist() == [
        t for t in shop.archived("features")["_timestamp"].to_pylist() if t >= now - timedelta(minutes=10)
    ]
    maintain(shop.archive, LATER, many_files=2)
    with pytest.raises(StreamError, match="gone from the archive"):
        store.rebuild(made.id)
    # What was forgotten does not come back from the topic.
    assert all(each.rows == 0 for each in shop.catch_up().values())


def test_without_a_table_it_says_what_to_do(tmp_path):
    with pytest.raises(StreamError, match="`tidemill archive` writes it"):
        Archive(str(tmp_path)).table("outcomes").open()


def test_the_manifest_is_checked(shop):
    shop.catch_up()
    store = DatasetStore(shop.archive)
    made = build_dataset(shop.archive, shop.plan)
    store.save(made)
    assert store.ids() == [made.id]
    with pytest.raises(StreamError, match=f"did you mean '{made.id}'"):
        store.manifest(made.id[:-1] + "x")
    path = Path(shop.archive.root) / "datasets" / f"{made.id}.json"
    path.write_text(path.read_text().replace('"seed":0', '"seed":1'))
    with pytest.raises(StreamError, match="has been changed"):
        store.manifest(made.id)
