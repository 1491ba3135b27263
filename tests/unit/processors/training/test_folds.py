import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.processors.training.folds import checked, time_folds
from tidemill.schemas.errors import ModelError


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), max_size=40), st.integers(1, 5))
def test_no_fold_knows_what_was_not_known_yet(rows, n):
    event = np.array([time for time, _ in rows], dtype=np.int64)
    label = event + np.array([delay for _, delay in rows], dtype=np.int64)
    folds = time_folds(event, label, n)
    assert len(folds) <= n
    measured = [place for _, measure in folds for place in measure.tolist()]
    assert len(measured) == len(set(measured))
    before = 0
    for fit, measure in folds:
        start = event[measure].min()
        assert label[fit].max() <= start
        assert event[fit].max() < start
        # Nothing that could be used is left out, and folds grow.
        assert set(fit.tolist()) >= {i for i in range(len(event)) if event[i] < start and label[i] < start}
        assert len(fit) >= before
        before = len(fit)


def test_a_label_that_never_came_is_never_fitted_on():
    event = np.array(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"], dtype="datetime64[us]")
    label = event.copy()
    label[0] = np.datetime64("NaT")
    assert [fit.tolist() for fit, _ in time_folds(event, label, 3)] == [[1], [1, 2]]


def test_folds_that_are_given_are_looked_at():
    assert [part.tolist() for part in checked([([0, 1], [2])], 3)[0]] == [[0, 1], [2]]
    with pytest.raises(ModelError, match="places from 0 to 2, got 2–3"):
        checked([([0], [2, 3])], 3)
    with pytest.raises(ModelError, match="the same rows: 1"):
        checked([([0, 1], [1])], 3)
    with pytest.raises(ModelError, match="got 0"):
        time_folds(np.arange(2), np.arange(2), 0)
