import pytest

from tidemill.processors.label_quality import gold_accuracy, last_answers, wilson_interval


@pytest.mark.parametrize(
    # By hand from Wilson's formula with z = 1.96; the first two also stand in textbooks.
    ("right", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0), (0, 0, 0.0, 1.0)],
)
def test_the_interval(right, count, low, high):
    assert wilson_interval(right, count) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_each_annotator_is_measured_on_the_questions_that_they_answered(labels, gold):
    given = labels(("a", "ada", True), ("b", "ada", True), ("c", "ada", False), ("a", "bo", True), ("c", "cy", True))
    found = gold_accuracy(last_answers(given), gold(a=True, b=False, z=True)).to_dicts()
    assert [(row["annotator"], row["gold"], row["gold_right"], row["gold_accuracy"]) for row in found] == [
        ("ada", 2, 1, 0.5),
        ("bo", 1, 1, 1.0),
    ]
    assert (found[1]["gold_low"], found[1]["gold_high"]) == wilson_interval(1, 1)


def test_without_gold_nobody_is_measured(labels, gold):
    assert gold_accuracy(last_answers(labels(("a", "ada", True))), gold()).is_empty()
