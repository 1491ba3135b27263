import pytest

from tidemill.processors.label_quality import DisputeRule, consensus, last_answers

ANY = DisputeRule(agree=0.5)


@pytest.fixture
def decided(labels):
    def make(*rows, rule=ANY, weights=None, confidence=None):
        columns = {} if confidence is None else {"confidence": confidence}
        found = consensus(last_answers(labels(*rows, **columns)), rule, weights)
        return {row["event_id"]: (row["label"], row["share"], row["dispute"]) for row in found.to_dicts()}

    return make


def test_the_majority_wins(decided):
    assert decided(("a", "ada", "fraud"), ("a", "bo", "fine"), ("a", "cy", "fraud")) == {
        "a": ("fraud", pytest.approx(2 / 3), None)
    }


def test_a_tie_has_no_label(decided):
    assert decided(("a", "ada", True), ("a", "bo", False)) == {"a": (None, 0.5, "tie")}
    three = [("a", "ada", 1), ("a", "bo", 2), ("a", "cy", 3)]
    # In floating point .1 + .2 is not .3.
    assert decided(*three, ("a", "di", 1), confidence=[0.1, 0.3, 0.1, 0.2]) == {
        "a": (None, pytest.approx(3 / 7), "tie")
    }


def test_a_vote_weighs_its_confidence_and_its_annotators_weight(decided):
    rows = ("a", "ada", True), ("a", "bo", False), ("a", "cy", False)
    assert decided(*rows, confidence=[1.0, 0.5, 0.25])["a"] == (True, pytest.approx(1 / 1.75), None)
    assert decided(*rows, weights={"bo": 0.5, "cy": 0.25})["a"] == (True, pytest.approx(1 / 1.75), None)
    assert decided(*rows, weights={"bo": 0.0, "cy": 0.5}, confidence=[0.4, 1.0, 1.0])["a"][0] is False


@pytest.mark.parametrize(
    ("least", "agree", "dispute"), [(3, 0.5, None), (4, 0.5, "few"), (1, 0.66, None), (1, 0.67, "split")]
)
def test_too_few_or_too_small_a_share_is_a_dispute(decided, least, agree, dispute):
    rows = ("a", "ada", True), ("a", "bo", False), ("a", "cy", True)
    assert decided(*rows, rule=DisputeRule(least, agree))["a"][2] == dispute


def test_a_share_that_is_just_enough_is_enough(decided):
    rows = [("a", f"annotator {n}", n < 7) for n in range(10)]
    assert decided(*rows, rule=DisputeRule(1, 0.7)) == {"a": (True, 0.7, None)}


def test_votes_that_weigh_nothing_decide_nothing(decided):
    assert decided(("a", "ada", True), confidence=[0.0]) == {"a": (None, 0.0, "tie")}


def test_the_winners_confidence_is_theirs_alone(labels):
    given = labels(("a", "ada", 1), ("a", "bo", 1), ("a", "cy", 2), confidence=[0.4, 0.6, 0.9])
    assert consensus(last_answers(given))["confidence"].to_list() == [0.5]


def test_no_answers(decided):
    assert decided() == {}
