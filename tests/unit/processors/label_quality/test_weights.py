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
    given = gold(ada=(1000, 1000), bo=(1000, 500), cy=(1000, 0))
    weights = annotator_weights(["ada", "bo", "cy"], given, peers(), 2)
    assert weights["ada"] == pytest.approx(1, abs=0.01)
    assert weights["bo"] == pytest.approx(0, abs=0.01)
    assert weights["cy"] == 0


def test_with_more_classes_a_guess_is_worth_less():
    weights = annotator_weights(["ada"], gold(ada=(10, 3)), peers(), 4)
    assert weights == {"ada": pytest.approx((12 / 20 - 0.25) / 0.75)}


def test_peers_are_outweighed_by_gold():
    agreed = peers(ada=(10_000, 10_000))
    assert annotator_weights(["ada"], gold(), agreed, 2)["ada"] == pytest.approx(2 * 29 / 30 - 1)
    assert annotator_weights(["ada"], gold(ada=(200, 110)), agreed, 2)["ada"] == pytest.approx(2 * 139 / 230 - 1)


def test_a_few_mistakes_do_not_silence_anybody():
    weights = annotator_weights(["ada", "bo"], gold(ada=(2, 0), bo=(1, 1)), peers(), 2)
    assert weights == {"ada": pytest.approx(0.5), "bo": pytest.approx(2 * 10 / 11 - 1)}


def test_who_was_not_tested_is_trusted_nine_times_in_ten():
    assert annotator_weights(["ada"], gold(bo=(9, 0)), peers(), 2) == {"ada": pytest.approx(0.8)}
    assert annotator_weights([], gold(), peers(), 2) == {}
