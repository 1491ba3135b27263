import http.server
import json
import socket
import sys
import threading
import uuid
from datetime import UTC, datetime

import pytest

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.lineage import (
    STATES,
    JobRun,
    Lineage,
    model_dataset,
    open_lineage,
    run_event,
    table_dataset,
    topic_dataset,
)
from tidemill.streams.memory import MemoryLog, MemorySender

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = JobRun(
    "flights",
    "job-1",
    inputs=[
        topic_dataset("k:9092", "flights.outcomes", {1: (5, 9), 0: (0, 7)}, rows=13),
        table_dataset("/data/features", 4, fields=[("amount", "double")], facts={"dataset": "abc"}),
    ],
    outputs=[model_dataset("k:9092", "flights", "0a1b2c")],
    trigger={"trigger_id": "t1", "reason": "drift", "at": NOW},
    gates=[{"name": "baseline", "passed": True, "figures": {"gain": 0.1}}],
)


def event(state="COMPLETE", run=RUN):
    return json.loads(run_event(state, run, NOW))


@pytest.mark.parametrize("state", STATES)
def test_an_event_has_all_that_is_known(state):
    made = event(state)
    assert (made["eventType"], made["eventTime"]) == (state, NOW.isoformat())
    assert made["schemaURL"].startswith("https://openlineage.io/spec/")
    assert made["job"]["name"] == "flights.training"
    assert uuid.UUID(made["run"]["runId"]).version == 5
    facets = made["run"]["facets"]
    assert facets["tidemill_trigger"]["trigger"] == {"trigger_id": "t1", "reason": "drift", "at": str(NOW)}
    assert facets["tidemill_gates"]["gates"][0]["passed"] is True
    assert facets["tidemill_job"]["attempt"] == 1
    topic, table = made["inputs"]
    assert (topic["namespace"], topic["name"]) == ("kafka://k:9092", "flights.outcomes")
    assert topic["facets"]["tidemill_source"]["offsets"][0] == {"partition": 0, "first": 0, "last": 7}
    assert topic["inputFacets"]["inputStatistics"]["rowCount"] == 13
    assert (table["namespace"], table["name"]) == ("file", "/data/features")
    assert table["facets"]["version"]["datasetVersion"] == "4"
    assert table["facets"]["schema"]["fields"][0]["name"] == "amount"
    (model,) = made["outputs"]
    assert (model["name"], model["facets"]["version"]["datasetVersion"]) == ("flights.models", "0a1b2c")
    for facet in [*facets.values(), *topic["facets"].values(), *table["facets"].values()]:
        assert facet["_producer"].startswith(("https://", "urn:tidemill"))
        assert facet["_schemaURL"].startswith("https://")


def test_a_failure_says_why():
    made = event("FAIL", JobRun("flights", "job-2", error="out of memory"))
    assert made["run"]["facets"]["errorMessage"]["message"] == "out of memory"


def test_an_unknown_state_is_refused():
    with pytest.raises(DeclarationError, match="did you mean 'START'"):
        run_event("STRAT", RUN, NOW)


def test_to_a_file(tmp_path):
    lineage = open_lineage(str(tmp_path / "deep" / "lineage.jsonl"), "flights")
    assert lineage.tell("START", RUN)
    assert lineage.tell("COMPLETE", RUN)
    lines = (tmp_path / "deep" / "lineage.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]
    assert len({json.loads(line)["run"]["runId"] for line in lines}) == 1


def test_to_a_topic():
    log = MemoryLog({"flights.lineage": 1})
    assert open_lineage("topic", "flights", lambda: MemorySender(log)).tell("START", RUN)
    (record,) = log.read("flights.lineage", 0)
    assert record.key.decode() == RUN.run_id == json.loads(record.value)["run"]["runId"]


def test_to_a_server():
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201 if "refuse" not in self.path else 500)
            self.end_headers()

        def log_message(self, *given):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            assert open_lineage(url, "flights").tell("START", RUN)
            assert not open_lineage(f"{url}/refuse", "flights").tell("START", RUN)
        finally:
            server.shutdown()
            thread.join()
    assert [path for path, _ in got] == ["/api/v1/lineage", "/refuse"]
    assert got[0][1] == got[1][1] | {"eventTime": got[0][1]["eventTime"]}


@pytest.mark.parametrize(
    "said", [None, b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: file:///etc\r\n\r\n"]
)
def test_a_server_that_hangs_or_talks_nonsense_costs_a_warning(said, monkeypatch, caplog):
    """None: it takes the connection and never answers."""
    from tidemill.streams import lineage

    monkeypatch.setattr(lineage, "_HTTP_SECONDS", 0.2)
    done, asked = threading.Event(), []

    def serve(listener):
        taken, _ = listener.accept()
        with taken:
            asked.append(taken.recv(65_536))
            if said is None:
                done.wait(30)
            else:
                taken.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            url = f"http://user:swordfish@127.0.0.1:{listener.getsockname()[1]}"
            assert not open_lineage(url, "flights").tell("COMPLETE", RUN)
        finally:
            done.set()
            thread.join()
    assert "the lineage of job job-1 as COMPLETE is lost" in caplog.text
    assert "swordfish" not in caplog.text
    # The user and the password go where they belong.
    assert b"Authorization: Basic dXNlcjpzd29yZGZpc2g=" in asked[0]


def test_a_job_never_fails_by_it(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert not open_lineage(str(tmp_path / "file" / "below"), "flights").tell("START", RUN)
    assert not open_lineage("http://127.0.0.1:9", "flights").tell("START", RUN)
    assert not Lineage(lambda run, made: None).tell("STRAT", RUN)
    assert caplog.text.count("the lineage of job job-1") == 3
    assert open_lineage(None, "flights").tell("START", RUN)


def test_what_is_not_installed_is_named(monkeypatch, caplog):
    from tidemill.streams import lineage

    lineage._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "tidemill.streams.lineage_classes", None)
    assert not Lineage(lambda run, made: None).tell("START", RUN)
    assert "pip install 'tidemill[training]'" in caplog.text


@pytest.mark.parametrize(("target", "said"), [("ftp://x", "an http\\(s\\) URL"), ("topic", "needs a sender")])
def test_other_targets_are_refused(target, said):
    with pytest.raises(DeclarationError, match=said):
        open_lineage(target, "flights")
