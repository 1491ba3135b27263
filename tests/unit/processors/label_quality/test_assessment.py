import pytest

from tidemill.processors.label_quality import DisputeRule, assess


def test_all_together(labels, gold):
    given = labels(
        *(("a", name, True) for name in ("ada", "bo", "cy")),
        *(("b", name, name != "cy") for name in ("ada", "bo", "cy")),
        ("c", "ada", False),
        guidelines_version=["1"] * 6 + [None],
    )
    found = assess(given, gold(b=True), DisputeRule(least=2), 2)
    assert found.decided.select("event_id", "label", "dispute", "time").rows() == [
        ("a", True, None, 2),
        ("b", True, None, 5),
        ("c", False, "few", 6),
    ]
    assert found.disputed["event_id"].to_list() == ["c"]
    rows = {row["annotator"]: row for row in found.annotators.to_dicts()}
    assert [(name, row["labels"], row["gold"], row["gold_right"]) for name, row in rows.items()] == [
        ("ada", 3, 1, 1),
        ("bo", 2, 1, 1),
        ("cy", 2, 1, 0),
    ]
    assert [row["disagreement"] for row in rows.values()] == [0.25, 0.25, 0.5]
    assert rows["ada"]["weight"] > rows["cy"]["weight"]
    # Six answers can be paired, five of them True; two of three pairs of b do not match.
    assert found.alpha == pytest.approx(1 - 5 * (4 / 2) / (36 - 25 - 1))
    assert found.versions == [(None, 1), ("1", 6)]


def test_what_is_known_is_not_disputed(labels, gold):
    given = labels(("a", "ada", True), ("a", "bo", False), ("b", "ada", True), ("b", "bo", False))
    found = assess(given, gold(a=False), DisputeRule(agree=0.5), 2)
    assert found.decided.select("label", "share", "dispute").rows()[0] == (False, 1.0, None)
    # With bo's answer known to be right, bo alone counts more than ada.
    assert found.decided["label"].to_list() == [False, False]


def test_what_experts_say_is_known_unless_they_differ_or_it_is_listed(labels, gold):
    given = labels(
        *(("a", name, label) for name, label in {"eve": True, "bo": False, "cy": False}.items()),
        *(("b", name, label) for name, label in {"eve": True, "fay": False}.items()),
        ("c", "eve", True),
    )
    found = assess(given, gold(c=False), DisputeRule(least=2), 2, ("eve", "fay"))
    assert found.gold.rows() == [("a", True), ("c", False)]
    assert found.decided.select("event_id", "label", "dispute").rows()[0] == ("a", True, None)
    assert found.annotators.filter(found.annotators["gold"].is_not_null())["annotator"].to_list() == ["bo", "cy"]


def test_a_consensus_that_differs_is_counted_where_there_is_a_majority(labels, gold):
    given = labels(("a", "ada", True), ("b", "ada", True), ("c", "ada", True), ("c", "bo", False))
    found = assess(given, gold(), DisputeRule(), 2)
    assert found.differing(gold(a=False, b=True, c=False)) == 1


def test_no_labels(labels, gold):
    import polars as pl

    found = assess(labels(kind=pl.Boolean), gold(), DisputeRule(), 2)
    assert (found.decided.is_empty(), found.annotators.is_empty(), found.alpha) == (True, True, None)
