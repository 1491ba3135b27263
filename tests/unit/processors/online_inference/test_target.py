import pyarrow as pa
import pytest

from tidemill.processors.online_inference import Target
from tidemill.schemas.errors import DeclarationError


@pytest.mark.parametrize(
    ("classes", "columns", "kind"),
    [
        ((), (), pa.float64()),
        ((False, True), ("probability_false", "probability_true"), pa.bool_()),
        ((0, 1, -1), ("probability_0", "probability_1", "probability__1"), pa.int64()),
        (("On time", "spät"), ("probability_on_time", "probability_sp_t"), pa.string()),
    ],
)
def test_the_classes_fix_the_columns(classes, columns, kind):
    target = Target(classes)
    assert target.columns() == columns
    assert target.value_type() == kind
    assert all(name.isascii() and name.isidentifier() for name in columns)


@pytest.mark.parametrize(
    ("classes", "prior", "row"),
    [
        ((), 3, (3.0, [])),
        ((False, True), 0.25, (False, [0.75, 0.25])),
        ((False, True), 1, (True, [0.0, 1.0])),
        (("a", "b", "c"), {"b": 0.75, "c": 0.25}, ("b", [0.0, 0.75, 0.25])),
        ((False, True), None, None),
    ],
)
def test_the_prior(classes, prior, row):
    assert Target(classes, prior).prior_row() == row


@pytest.mark.parametrize(
    ("classes", "prior", "words"),
    [
        ((True,), None, "two and more"),
        (("a b", "a_b"), None, "different names"),
        ((0, True, 2), None, "all booleans, integers or text"),
        ((0.0, 1.0), None, "all booleans, integers or text"),
        ((), {"a": 1}, "a regression's prior is a finite number"),
        ((), float("nan"), "a regression's prior is a finite number"),
        ((False, True), 1.5, "add up to 1"),
        ((False, True), float("nan"), "add up to 1"),
        (("a", "b", "c"), 0.5, "is a mapping of class to probability"),
        (("a", "b", "c"), {"a": 0.5}, "add up to 1"),
        (("a", "b"), {"a": 0.5, "b": 0.5, "d": 0.0}, "not declared: ['d']"),
    ],
)
def test_what_cannot_be_is_refused(classes, prior, words):
    with pytest.raises(DeclarationError) as error:
        Target(classes, prior)
    assert words in str(error.value)
