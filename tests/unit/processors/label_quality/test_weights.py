import polars as pl
import pytest

from tidemill.processors.label_quality import annotator_weights, last_answers
from tidemill.processors.label_quality.weights import peer_agreement


def gold(**counts):
    rows = [(name, count, right) for name, (count, right) in counts.items()]
    return pl.DataFrame(rows, schema={"annotator": pl.String, "gold": pl.Int64, "gold_right": pl.Int64}, orient="row")


def peers(**counts):
    rows = [(name, count, agreed) for name, (count, agreed) in counts.items()]
    return pl.DataFrame(rows, schema={"annotator": pl.String, "peers": pl.Int64, "peers_agree": pl.Int64}, orient="row")


def test_an_annotator_is_compared_with_the_majority_of_the_others(labels):
    given = labels(
        *(("a", name, label) for name, label in {"ada": 1, "bo": 1, "cy": 2}.items()),
        *(("b", name, label) for name, label in {"ada": 1, "bo": 2}.items()),
        *(("c", name, label) for name, label in {"ada": 1, "bo": 2, "cy": 2, "di": 1, "eli": 2}.items()),
        ("d", "ada", 1),
    )
    found = {
        row["annotator"]: (row["peers"], row["peers_agree"]) for row in peer_agreement(last_answers(given)).to_dicts()
    }
    # On a the others of ada and of bo are split, those of cy say 1. On b each has one other. On c the others of ada and
    # of di say 2, those of the three are split.
    assert found == {"ada": (1, 0), "cy": (1, 0), "di": (1, 0)}


def test_those_who_agree(labels):
    given = labels(*(("a", name, 1) for name in ("ada", "bo", "cy")), ("b", "ada", 2))
    assert peer_agreement(last_answers(given)).rows() == [("ada", 1, 1), ("bo", 1, 1), ("cy", 1, 1)]


def test_a_guess_weighs_nothing_and_what_is_worse_than_that_no_less():
    weights = annotator_weights(gold(ada=(1000, 1000), bo=(1000, 500), cy=(1000, 0)), peers(), 2)
    assert weights["ada"] == pytest.approx(1, abs=0.01)
    assert weights["bo"] == pytest.approx(0, abs=0.01)
    assert weights["cy"] == 0


def test_with_more_classes_a_guess_is_worth_less():
    given = gold(ada=(1000, 500)), peers()
    assert annotator_weights(*given, 4)["ada"] == pytest.approx((0.5 - 0.25) / 0.75)


def test_peers_are_outweighed_by_gold():
    by_peers = annotator_weights(gold(), peers(ada=(10_000, 10_000)), 2)["ada"]
    both = annotator_weights(gold(ada=(200, 110)), peers(ada=(10_000, 10_000)), 2)["ada"]
    assert by_peers == 1
    assert both == pytest.approx(2 * 130 / 220 - 1)


def test_a_single_mistake_does_not_silence_anybody():
    weights = annotator_weights(gold(ada=(1, 0), bo=(99, 99)), peers(), 2)
    assert 0.2 < weights["ada"] < 0.5 < weights["bo"]


def test_of_nobody_anything_is_known():
    assert annotator_weights(gold(), peers(), 2) == {}
