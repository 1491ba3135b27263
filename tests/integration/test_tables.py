"""A reference table in a compacted topic: its rows change while the pipeline runs."""

import itertools
import json

import pytest

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher

SHOP = {
    "type": "record",
    "name": "Shop",
    "namespace": "shop",
    "fields": [
        {"name": "shop", "type": "string"},
        {"name": "city", "type": ["null", "string"], "default": None},
        {"name": "rank", "type": "int"},
    ],
}


class Shops:
    """Puts and deletes rows of the table, and asks by an order what the pipeline makes of them."""

    def __init__(self, mill):
        self.mill, self.topic = mill, f"{mill.name}.table-shops"
        self.codec = Codec(Contract.parse(SHOP), KnownSchemas())
        self.publisher = Publisher(Connection(mill.bootstrap_servers))
        self.numbers = itertools.count()

    def put(self, shop, **row):
        (value,) = self.codec.encode_rows([{"shop": shop, **row}])
        self.raw(shop, value)

    def raw(self, shop, value):
        self.publisher.send(self.topic, shop.encode(), value, partition=0)
        self.publisher.flush()

    def ask(self, shop):
        """The features of an order at this shop, sent now."""
        number = next(self.numbers)
        self.mill.send([{"id": f"o{number}", "customer": "c", "at": number, "amount": 1.0, "shop": shop}])
        self.mill.wait(number + 1)
        return next(row for row in self.mill.rows("features") if row["event_id"] == f"o{number}")

    def until(self, shop, city, version):
        """Workers follow the topic as they go: soon, the table is seen as it is now."""
        for _ in range(200):
            row = self.ask(shop)
            if row["shops_version"] == version:
                assert row["city"] == city
                return row
        raise AssertionError(f"expected version {version}, still {row}")


@pytest.fixture(scope="module")
def mill(make_mill):
    source = make_mill.source.replace(
        'tm.file_table("shops", "shops.csv", key=["shop"])', 'tm.topic_table("shops", "shop.avsc", key=["shop"])'
    )
    return make_mill(source, **{"shop.avsc": json.dumps(SHOP)})


def test_rows_change_while_it_runs(mill):
    with mill.worker():
        shops = Shops(mill)
        assert (shops.ask("A")["city"], shops.ask("A")["shops_version"]) == (None, 0)
        shops.put("A", city="Aachen", rank=1)
        assert shops.until("A", "Aachen", 1)["rank"] == 1
        shops.put("A", city="Ahlen", rank=2)
        shops.put("B", city="Bonn", rank=3)
        assert shops.until("A", "Ahlen", 3)["rank"] == 2
        assert shops.ask("B")["city"] == "Bonn"
        shops.raw("A", None)
        shops.until("A", None, 4)
        assert shops.ask("B")["city"] == "Bonn"
        shops.raw("B", b"garbage")
        shops.put("C", city="Celle", rank=4)
        shops.until("C", "Celle", 6)
        assert shops.ask("B")["city"] == "Bonn"
        versions = [row["shops_version"] for row in mill.rows("features")]
        assert versions == sorted(versions)
    mill.shops = shops


def test_the_whole_table_is_there_after_a_restart(mill):
    mill.shops.put("A", city="Alzey", rank=5)
    with mill.worker():
        row = mill.shops.ask("A")
        assert (row["city"], row["rank"], row["shops_version"]) == ("Alzey", 5, 7)
        assert mill.shops.ask("B")["city"] == "Bonn"
    assert mill.audit()["holds"]
