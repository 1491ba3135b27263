from datetime import UTC, datetime, timedelta

import pytest

from tidemill.processors.rollout.moves import retired, rolled_back, to_canary, to_champion
from tidemill.schemas.builtin import MODEL_EVENT, MODEL_EVENT_1
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import CommitAborted, Fenced, ModelError, StreamError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams import rollout_log
from tidemill.streams.memory import MemoryLog, MemoryTransactions
from tidemill.streams.ports import LogRecord
from tidemill.streams.rollout_log import LogMoved, RolloutLog, chain_fault

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = {
    "artefact_sha256": "0" * 64, "artefact_format": "skops", "artefact_offset": 0, "artefact_chunks": 1,
    "artefact_bytes": 1, "estimator": "e", "features": ["height"], "classes": [], "features_fingerprint": "0" * 16,
    "pipeline_version": "p", "training_offsets": [], "training_rows": 1, "evaluation_rows": 0, "metrics": {"x": 1.0},
}  # fmt: skip
CODEC, OLD = Codec(MODEL_EVENT, KnownSchemas()), Codec(MODEL_EVENT_1, KnownSchemas())


def said(version, status, **more):
    return {**MODEL, "model_version": version, "status": status, **more}


@pytest.fixture
def memory():
    return MemoryLog({"tides.models": 1})


@pytest.fixture
def log(memory):
    return RolloutLog("tides", memory, lambda: NOW)


def altered(memory, change):
    """The records, with one of them changed."""
    records = list(memory.read("tides.models", 0))
    place, value = change(records)
    return [LogRecord(0, n, 0, r.key, value if n == place else r.value, []) for n, r in enumerate(records)]


def test_each_record_names_the_hash_of_the_one_before(log):
    log.append([said("a", "champion"), said("b", "shadow")])
    log.append([said("c", "refused", reason="worse on slice JFK", by="gates")])
    events = log.read()
    assert [(e["model_version"], e["sequence"]) for e in events] == [("a", 0), ("b", 1), ("c", 2)]
    assert events[0]["previous"] == "0" * 64
    assert len({e["previous"] for e in events}) == 3
    assert events[2]["metrics"] == {"x": 1.0}
    assert log.rollout().versions["c"].event["reason"] == "worse on slice JFK"


def test_what_was_altered_left_out_or_put_in_is_named(log, memory):
    log.append([said(name, "shadow", reason="because") for name in "abcd"])
    records = log.records()
    assert chain_fault(records) is None
    changed = altered(memory, lambda rs: (1, rs[1].value.replace(b"because", b"BECAUSE")))
    assert "models@2: model c as shadow: the record before" in chain_fault(changed)
    assert "models@2" in chain_fault([records[0], records[2], records[3]])
    twice = [*records, LogRecord(0, 4, 0, None, records[3].value, [])]
    assert "models@4: model d as shadow" in chain_fault(twice)
    assert "begins at offset 1" in chain_fault(records[1:])
    bytes_only = [*records, LogRecord(0, 4, 0, None, b"garbage", [])]
    assert chain_fault(bytes_only) == "models@4: expected a model event, found 7 bytes that are none"
    outside = CODEC.encode_rows([said("e", "shadow", announced_at=NOW)])[0]
    assert "stands outside the chain" in chain_fault([*records, LogRecord(0, 4, 0, None, outside, [])])


def test_a_broken_chain_is_told_but_does_not_hold_up_a_rollback(log, memory):
    log.append([said("a", "champion")])
    log.append([said("b", "champion")])
    memory.append("tides.models", b"x", b"garbage")
    with pytest.raises(StreamError, match="the rollout log of tides was altered: models@2: expected a model event"):
        log.read()
    log.append(rolled_back(log.rollout(), by="ann", reason="worse"), expect=2)
    assert log.rollout().champion.version == "a"
    assert [e["sequence"] for e in rollout_log.model_events(log.records()) if e] == [0, 1, 3, 4]


def test_records_from_before_the_chain_are_covered_by_its_first_link(log, memory):
    old = said("a", "champion", announced_at=NOW, trained_from=None, trained_until=None)
    memory.append("tides.models", b"a", OLD.encode_rows([old])[0])
    log.append([said("b", "champion")])
    assert [(e["model_version"], e["sequence"]) for e in log.read()] == [("a", -1), ("b", 1)]
    assert log.rollout().former.version == "a"
    other = OLD.encode_rows([{**old, "model_version": "x"}])[0]
    assert "models@1" in chain_fault(altered(memory, lambda _: (0, other)))


def test_what_may_not_follow_is_not_written(log):
    log.append([said("a", "champion"), said("b", "refused")])
    with pytest.raises(ModelError, match="model b is refused and cannot become champion; it can become: refused, shad"):
        log.append([said("c", "shadow"), said("b", "champion")])
    assert len(log.read()) == 2


def test_a_decision_on_an_older_state_is_not_written(log):
    log.append([said("a", "champion"), said("b", "shadow")])
    rollout = log.rollout()
    log.append(retired(rollout, "b", by="ann", reason=""), expect=2)
    with pytest.raises(LogMoved, match="has 3 records, expected 2: somebody else"):
        log.append(to_canary(rollout, "b", 0.1, by="judge", reason=""), expect=len(rollout.records))
    assert log.rollout().versions["b"].status == "retired"


@pytest.mark.parametrize("error", [CommitAborted("rolled back"), Fenced("another one")])
@pytest.mark.parametrize("written", [False, True], ids=["not written", "written all the same"])
def test_a_commit_that_fails_is_made_once(log, monkeypatch, error, written):
    commit, failures = MemoryTransactions.commit, iter([error])

    def flaky(self, outputs):
        failure = next(failures, None)
        if failure is None or written:
            commit(self, outputs)
        if failure is not None:
            raise failure

    monkeypatch.setattr(MemoryTransactions, "commit", flaky)
    (event,) = log.append([said("a", "champion")], expect=0)
    assert (event["sequence"], [e["model_version"] for e in log.read()]) == (0, ["a"])


def test_one_that_is_always_fenced_gives_up(log, monkeypatch):
    def fenced(self, outputs):
        raise Fenced("another one")

    monkeypatch.setattr(MemoryTransactions, "commit", fenced)
    with pytest.raises(StreamError, match="others were always quicker"):
        log.append([said("a", "champion")])


def test_times_never_go_back(memory, log):
    RolloutLog("tides", memory, lambda: NOW + timedelta(hours=1)).append([said("a", "champion")])
    (event,) = log.append([said("b", "champion")])
    assert event["announced_at"] == NOW + timedelta(hours=1)
    (event,) = log.append([said("c", "champion", announced_at=NOW + timedelta(hours=2))])
    assert event["announced_at"] == NOW + timedelta(hours=2)
    assert log.rollout().at(NOW + timedelta(minutes=90)).champion.version == "b"
    assert log.rollout().at(NOW).champion is None


def test_promotion_and_the_way_back(log):
    log.append([said("a", "champion"), said("b", "shadow")])
    with pytest.raises(ModelError, match="no former champion"):
        rolled_back(log.rollout(), by="ann", reason="")
    log.append(to_canary(log.rollout(), "b", 0.2, by="ann", reason=""))
    assert [e["status"] for e in rolled_back(log.rollout(), by="ann", reason="")] == ["rolled_back"]
    log.append(to_champion(log.rollout(), "b", by="ann", reason="better", probation=True))
    rollout = log.rollout()
    assert (rollout.champion.version, rollout.probation[1].version) == ("b", "a")
    with pytest.raises(ModelError, match="model b is the champion already"):
        to_champion(rollout, "b", by="ann", reason="", probation=True)
    with pytest.raises(ModelError, match="something must answer"):
        retired(rollout, "b", by="ann", reason="")
    with pytest.raises(ModelError, match="no model 'bb' was announced; did you mean 'b'"):
        to_champion(rollout, "bb", by="ann", reason="", probation=True)
    log.append(rolled_back(rollout, by="ann", reason="worse"))
    rollout = log.rollout()
    assert (rollout.champion.version, rollout.versions["b"].status, rollout.former) == ("a", "rolled_back", None)
    assert rollout.passed_over == ()
