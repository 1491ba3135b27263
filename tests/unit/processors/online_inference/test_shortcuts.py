import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from tidemill.processors.online_inference.shortcuts import Shortcut, shortcut

RANDOM = np.random.default_rng(5)
ROWS = RANDOM.normal(scale=30.0, size=(1_024, 7))
LABELS = ROWS[:, 0] + RANDOM.normal(size=len(ROWS)) > 0
PARTS = {
    "scaler": (StandardScaler().fit(ROWS), "transform"),
    "centred": (StandardScaler(with_std=False).fit(ROWS), "transform"),
    "scaled": (StandardScaler(with_mean=False).fit(ROWS), "transform"),
    "logistic": (LogisticRegression(max_iter=1_000).fit(ROWS, LABELS), "predict_proba"),
    "linear": (LinearRegression().fit(ROWS, ROWS[:, 1]), "predict"),
    "several": (Ridge().fit(ROWS, ROWS[:, :2]), "predict"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_shortcut_answers_what_the_part_does_to_the_last_bit(name):
    part, method = PARTS[name]
    quick = shortcut(part)
    assert isinstance(quick, Shortcut)
    for rows in (ROWS, ROWS[:1], ROWS[:33], np.asfortranarray(ROWS)):
        before = rows.copy()
        assert getattr(quick, method)(rows).tobytes() == getattr(part, method)(rows).tobytes()
        assert (rows == before).all()


def test_what_the_part_refuses_its_shortcut_refuses_in_the_same_words():
    part, method = PARTS["logistic"]
    spoilt = np.where(np.arange(7) == 3, np.nan, ROWS[:5])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        getattr(shortcut(part), method)(spoilt)


def test_a_scaler_passes_nan_on_as_scikit_learn_does():
    part, _ = PARTS["scaler"]
    spoilt = np.where(np.arange(7) == 3, np.nan, ROWS[:5])
    assert shortcut(part).transform(spoilt).tobytes() == part.transform(spoilt).tobytes()


def test_a_part_that_does_otherwise_than_its_shortcut_is_called_itself():
    class Doubtful(LogisticRegression):
        pass

    several = LogisticRegression(max_iter=1_000).fit(ROWS, np.digitize(ROWS[:, 0], [-10, 10]))
    other = Doubtful(max_iter=1_000).fit(ROWS, LABELS)
    assert shortcut(several) is several
    assert shortcut(other) is other


def test_a_shortcut_that_disagrees_is_not_taken():
    part, method = PARTS["linear"]
    assert not Shortcut(part, method, lambda rows: np.nextafter(part.predict(rows), np.inf)).agrees(7)
