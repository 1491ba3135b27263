import polars as pl
import pytest

from tidemill.processors.label_quality import AuditRule, in_sample, label_requests


@pytest.fixture
def decided():
    """Events as `assess` has decided on them."""

    def make(*events, annotators=2, confidence=1.0, dispute=None):
        rows = [(event, annotators, confidence, dispute, 7) for event in events]
        kinds = {
            "event_id": pl.String,
            "annotators": pl.Int64,
            "confidence": pl.Float64,
            "dispute": pl.String,
            "time": pl.Int64,
        }
        return pl.DataFrame(rows, schema=kinds, orient="row")

    return make


RULE = AuditRule("mill", 0.0, "seed", 0.5, "3")


def audit(rate, seed="seed"):
    return AuditRule("mill", rate, seed, 0.5, "3")


def test_the_sample_has_its_rate_and_depends_on_the_seed():
    ids = [f"e{n}" for n in range(4000)]
    first, second = ({event for event in ids if in_sample(event, 0.1, seed)} for seed in ("x", "y"))
    assert 340 < len(first) < 460
    assert 10 < len(first & second) < 80
    assert not any(in_sample(event, 0.0, "x") for event in ids)
    assert all(in_sample(event, 1.0, "x") for event in ids)


def test_an_audit_asks_for_the_sample(decided):
    made = label_requests(decided(*(f"e{n}" for n in range(100))), [], audit(0.2))
    assert made["event_id"].to_list() == [f"e{n}" for n in range(100) if in_sample(f"e{n}", 0.2, "seed")]
    assert set(made["why"]) == {"audit"}
    assert set(made["asked_at"]) == {7}


def test_gold_questions_look_like_any_other(decided):
    ids = [f"e{n}" for n in range(1000)]
    plain, mixed = (label_requests(decided(*ids), gold, audit(1.0)) for gold in ([], ["g1", "g2", "g3"]))
    questions = mixed.filter(~pl.col("event_id").is_in(ids))
    assert 60 < len(questions) < 140
    assert set(questions["event_id"]) == {"g1", "g2", "g3"}
    assert set(mixed["why"]) == {"audit"}
    assert mixed["request_id"].is_unique().all()
    assert mixed["request_id"].str.len_bytes().unique().to_list() == [32]
    assert set(plain["request_id"]) < set(mixed["request_id"])


def test_disputes_and_doubts_are_asked_again(decided):
    given = pl.concat([decided("a", dispute="tie"), decided("b", confidence=0.4), decided("c", confidence=0.5)])
    assert label_requests(given, [], RULE).select("event_id", "why").rows() == [("a", "dispute"), ("b", "uncertain")]


def test_the_same_labels_make_the_same_requests_and_a_dispute_that_goes_on_is_a_new_one(decided):
    two, again, three = (
        label_requests(decided("a", dispute="split", annotators=n), [], RULE)["request_id"][0] for n in (2, 2, 3)
    )
    assert two == again != three
    other = AuditRule("mill", 0.0, "seed", 0.5, "4")
    assert label_requests(decided("a", dispute="split"), [], other)["request_id"][0] != two


def test_nothing_to_ask(decided):
    assert label_requests(decided("a"), ["g"], RULE).is_empty()
    assert label_requests(decided(), ["g"], audit(1.0)).is_empty()
