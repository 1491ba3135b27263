from math import nan

from tidemill.processors.label_quality import last_answers


def said(frame):
    return last_answers(frame).select("event_id", "annotator", "label").rows()


def test_of_each_annotator_and_event_the_last_label_counts(labels):
    given = labels(("a", "bo", 1), ("a", "ada", 2), ("b", "ada", 3), ("a", "ada", 4))
    assert said(given) == [("a", "ada", 4), ("a", "bo", 1), ("b", "ada", 3)]


def test_the_revision_goes_before_the_place_on_the_log(labels):
    given = labels(("a", "ada", 1), ("a", "ada", 2), ("a", "ada", 3), ("a", "ada", 4), revision=[0, 2, 2, None])
    assert said(given) == [("a", "ada", 3)]


def test_what_says_nothing_is_left_out(labels):
    assert said(labels(("a", "ada", 1), ("a", "ada", None), (None, "ada", 2))) == [("a", "ada", 1)]
    assert said(labels(kind=bool)) == []


def test_labels_that_name_no_annotator_are_one_annotators(labels):
    assert said(labels(("a", None, 1), ("a", "ada", 2), ("a", None, 3))) == [("a", "", 3), ("a", "ada", 2)]


def test_confidences_are_shares(labels):
    given = labels(*((event, "ada", 1) for event in "abcde"), confidence=[None, nan, -1.0, 7.0, 0.5])
    assert last_answers(given)["confidence"].to_list() == [1.0, 0.0, 0.0, 1.0, 0.5]
