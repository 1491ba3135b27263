"""Pipelines in a shop with a schema registry; a stand-in speaks the HTTP API of the real one."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.registry import Registry

TEXT = '{"type": "record", "name": "Ping", "fields": [{"name": "id", "type": "string"}]}'


class StandIn(ThreadingHTTPServer):
    """Subjects, versions, ids and GUIDs in memory; `asked` has each request's path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.schemas: list[str] = []
        self.guids: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.asked: list[str] = []
        self.broken = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def register(self, subject: str, text: str) -> int:
        """The schema's id: the same schema has one id, whatever its subjects."""
        if text not in self.schemas:
            self.schemas.append(text)
            self.guids.append(str(uuid.uuid4()))
        found = self.schemas.index(text) + 1
        versions = self.subjects.setdefault(subject, [])
        if found not in versions:
            versions.append(found)
        return found

    def about(self, schema_id: int) -> dict[str, Any]:
        return {"id": schema_id, "guid": self.guids[schema_id - 1], "schema": self.schemas[schema_id - 1]}

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Status and JSON, as documented for the registry's API."""
        if self.broken:
            return 500, {"error_code": 50001, "message": "Error in the backend data store"}
        match path.split("?")[0].strip("/").split("/"):
            case ["subjects", subject, "versions"] if body:
                return 200, self.about(self.register(subject, body["schema"]))
            case ["subjects", subject] if body and body["schema"] in self.schemas:
                found = self.schemas.index(body["schema"]) + 1
                if found in self.subjects.get(subject, []):
                    version = self.subjects[subject].index(found) + 1
                    return 200, {"subject": subject, "version": version, **self.about(found)}
                return 404, {"error_code": 40401, "message": "Subject not found"}
            case ["schemas", "ids", text] if 0 < int(text) <= len(self.schemas):
                return 200, self.about(int(text))
            case ["schemas", "guids", guid] if guid in self.guids:
                return 200, self.about(self.guids.index(guid) + 1)
        return 404, {"error_code": 40403, "message": "Schema not found"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: dict[str, Any] | None) -> None:
        self.server.asked.append(self.path)
        status, found = self.server.answer(self.path, body)
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Requests are kept, not printed."""


class Clock:
    now: ClassVar[float] = 0.0

    def __call__(self) -> float:
        Clock.now += 0.01
        return Clock.now


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server
        server.shutdown()


@pytest.fixture
def registry(stand_in: StandIn) -> Iterator[Registry]:
    made = Registry(stand_in.url, Clock())
    yield made
    made.close()


def test_contracts_are_registered_under_their_topics_and_found_by_id_and_guid(stand_in, registry):
    contract = Contract.parse(TEXT)
    found = registry.register("shop.events", contract)
    assert stand_in.subjects == {"shop.events-value": [found]}
    assert registry.by_id(found).fingerprint == contract.fingerprint
    assert registry.by_guid(uuid.UUID(stand_in.guids[0]).bytes).fingerprint == contract.fingerprint
    asked = len(stand_in.asked)
    assert registry.by_id(found) is not None
    assert len(stand_in.asked) == asked


def test_an_id_that_the_registry_learns_later_is_found_later(stand_in, registry):
    assert registry.by_id(1) is None
    stand_in.register("shop.events-value", TEXT)
    assert registry.by_id(1) is None, "it was just asked"
    Clock.now += 60
    assert registry.by_id(1) is not None


def test_garbage_that_looks_like_ids_is_not_asked_for_one_by_one(stand_in, registry):
    stand_in.register("shop.events-value", TEXT)
    assert registry.by_id(1) is not None
    before = len(stand_in.asked)
    assert {registry.by_id(number) for number in range(100, 1100)} == {None}
    assert len(stand_in.asked) - before < 120
    assert registry.by_id(1) is not None


def test_a_registry_that_fails_is_no_verdict_on_a_message(stand_in, registry):
    stand_in.broken = True
    with pytest.raises(StreamError, match="asking the schema registry at http"):
        registry.by_id(1)


def test_producers_and_readers_of_a_shop_with_a_registry(make_mill, orders, stand_in):
    """Events by Confluent's own serializer, id before the datum or GUID in a header; audit and tail through our own."""
    mill, made = make_mill(), orders.make(60)
    topic = f"{mill.name}.events"
    settings = {"auto.register.schemas": True}
    producer = Producer({"bootstrap.servers": mill.bootstrap_servers})
    with (
        mill.worker(registry_url=stand_in.url),
        mill.client() as client,
        closing(SchemaRegistryClient({"url": stand_in.url})) as theirs,
    ):
        text = client.contract("events").text
        by_id = AvroSerializer(theirs, text, conf=settings)
        by_guid = AvroSerializer(theirs, text, conf={**settings, "schema.id.serializer": header_schema_id_serializer})
        for number, order in enumerate(made):
            headers: list[tuple[str, bytes]] = []
            context = SerializationContext(topic, MessageField.VALUE, headers)
            value = (by_guid if number % 2 else by_id)(order, context)
            producer.produce(topic, value, key=str(order["customer"]).encode(), headers=headers)
        producer.produce(topic, b"\0\0\0\x27\x0fgarbage", key=b"c")
        producer.flush()
        read = ("tail", mill.name, "--since", "beginning", "--timeout", "60", "--json", "--registry-url", stand_in.url)
        answered = [json.loads(line) for line in mill.cli(*read, "-n", "50").splitlines()]
    found = json.loads(mill.cli("audit", mill.name, "--json", "--registry-url", stand_in.url).splitlines()[0])
    assert found["holds"]
    assert found["events"] == 61 == found["predictions"] + found["rejections"]
    assert found["predictions"] >= 50 == len({row["event_id"] for row in answered})
    assert {f"{topic}-value", f"{mill.name}.predictions-value"} <= stand_in.subjects.keys()
    prediction = mill.read("predictions")[0].value()
    assert prediction[:1] == b"\0"
    assert int.from_bytes(prediction[1:5], "big") in stand_in.subjects[f"{mill.name}.predictions-value"]
