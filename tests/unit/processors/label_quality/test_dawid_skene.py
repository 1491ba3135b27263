import sys

import pytest

from tidemill.processors.label_quality import dawid_skene, last_answers
from tidemill.schemas.errors import DeclarationError


def test_without_crowd_kit_it_says_what_to_install(monkeypatch, labels):
    monkeypatch.setitem(sys.modules, "crowdkit.aggregation.classification.dawid_skene", None)
    with pytest.raises(DeclarationError, match=r"needs crowd-kit; run: pip install 'tidemill\[annotators\]'"):
        dawid_skene(last_answers(labels(("a", "ada", True))))


@pytest.fixture
def one_against_two(labels):
    """Twelve events: ada is always right, bo and cy say True whatever the event is."""
    truth = {f"e{n:02}": n % 3 == 0 for n in range(12)}
    rows = [(event, "ada", label) for event, label in truth.items()]
    rows += [(event, name, True) for event in truth for name in ("bo", "cy")]
    return truth, last_answers(labels(*rows))


def test_who_always_says_the_same_says_nothing(one_against_two, gold):
    truth, answers = one_against_two
    known = gold(**{event: truth[event] for event in ("e00", "e01", "e02", "e03")})
    found = dawid_skene(answers, known)
    assert dict(found.labels.select("event_id", "label").iter_rows()) == truth
    assert found.accuracy["ada"] == pytest.approx(1, abs=1e-3)
    assert found.accuracy["bo"] == found.accuracy["cy"] == pytest.approx(1 / 3, abs=1e-3)


def test_labels_may_be_text_and_gold_of_others_or_unheard_classes_does_no_harm(labels, gold):
    import polars as pl

    given = labels(("a", "ada", "fine"), ("a", "bo", "fine"), ("b", "ada", "fraud"), ("b", "bo", "fraud"))
    found = dawid_skene(last_answers(given), gold(pl.String, zz="fine", a="mistake"))
    assert found.labels.select("event_id", "label").rows() == [("a", "fine"), ("b", "fraud")]
    assert found.labels["probability"].min() > 0.99


def test_no_answers(labels):
    found = dawid_skene(last_answers(labels(kind=bool)))
    assert (found.labels.is_empty(), found.accuracy, found.iterations) == (True, {}, 0)
