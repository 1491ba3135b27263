"""Numbers, booleans and text as columns: no label shows in its own row, blocks change nothing, a naive oracle."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.processors.adaptation import encoding
from tidemill.processors.adaptation.encoding import KEEP, WEIGHT, Encoder, kinds_of
from tidemill.processors.adaptation.packed import pack, unpack
from tidemill.schemas.errors import ModelError

texts = st.sampled_from(["a", "b", "c", None])


def naive(values: list[str | None], labels: list[int], classes: int) -> list[list[float]]:
    """Of each row the smoothed shares of its category, by sums over all rows before."""
    found = []
    for now, value in enumerate(values):
        own, whole, same = np.zeros(classes), np.zeros(classes), 0
        for before in range(now - 1, -1, -1):
            whole[labels[before]] += KEEP ** (now - 1 - before)
            if values[before] == value:
                own[labels[before]] += KEEP**same
                same += 1
        share = whole / whole.sum() if now else np.full(classes, 1 / classes)
        shown = (own + WEIGHT * share) / (own.sum() + WEIGHT)
        found.append(shown.tolist()[1:] if classes == 2 else shown.tolist())
    return found


@given(rows=st.lists(st.tuples(texts, st.integers(0, 2)), max_size=25), classes=st.sampled_from([2, 3]))
def test_text_is_what_labels_before_said_of_it(rows, classes) -> None:
    values, labels = [value for value, _ in rows], [label % classes for _, label in rows]
    frame = pd.DataFrame({"kind": pd.Series(values, dtype=object)})
    found = Encoder({"kind": "text"}, classes).learn(frame, np.array(labels, np.int64))
    expected = np.array(naive(values, labels, classes)).reshape(found.shape)
    assert found == pytest.approx(expected, abs=1e-6)


def made(count: int) -> tuple[pd.DataFrame, np.ndarray]:
    chance = np.random.default_rng(0)
    kind = pd.Series([[None, "a", "b", "c"][n] for n in chance.integers(0, 4, count)], dtype=object)
    frame = pd.DataFrame({"x": chance.normal(size=count), "kind": kind, "yes": chance.random(count) < 0.5})
    return frame, chance.integers(0, 3, count)


def test_blocks_and_a_restart_change_nothing() -> None:
    frame, labels = made(200)
    whole = Encoder(kinds_of(frame), 3)
    expected = whole.learn(frame, labels)
    parts, found = Encoder(kinds_of(frame), 3), []
    for start in range(0, 200, 37):
        parts.encode(frame.iloc[:5])
        found.append(parts.learn(frame.iloc[start : start + 37], labels[start : start + 37]))
        again = Encoder(kinds_of(frame), 3)
        again.restore(*unpack(pack(*parts.saved())))
        parts = again
    assert np.array_equal(np.concatenate(found), expected)
    assert pack(*parts.saved()) == pack(*whole.saved())


def test_a_rows_own_label_does_not_show() -> None:
    frame, labels = made(100)
    altered = labels.copy()
    altered[60] = (altered[60] + 1) % 3
    first, second = (Encoder(kinds_of(frame), 3).learn(frame, given) for given in (labels, altered))
    assert np.array_equal(first[:61], second[:61], equal_nan=True)
    assert not np.array_equal(first[61:], second[61:], equal_nan=True)


def test_what_is_missing_or_new_or_too_large() -> None:
    frame, labels = made(100)
    encoder = Encoder(kinds_of(frame), 2)
    encoder.learn(frame, labels % 2)
    asked = pd.DataFrame({"x": [np.inf, 1e300, None], "kind": ["new", None, "a"]})
    found = encoder.encode(asked)
    assert np.isnan(found[:, 2]).all()
    assert np.isnan(found[[0, 2], 0]).all()
    assert found[1, 0] == pytest.approx(1e30)
    assert np.isfinite(found[:, 1]).all()
    # A row's values decide, not those beside it.
    assert np.array_equal(np.concatenate([encoder.encode(asked.iloc[[n]]) for n in range(3)]), found, equal_nan=True)


def test_categories_beyond_the_limit_are_as_new_ones(monkeypatch) -> None:
    monkeypatch.setattr(encoding, "MOST_CATEGORIES", 3)
    frame = pd.DataFrame({"id": [f"i{n}" for n in range(20)] * 2})
    encoder = Encoder({"id": "text"}, 2)
    encoder.learn(frame, np.tile([0, 1], 20))
    answers = encoder.encode(frame.iloc[:20])[:, 0]
    assert len(set(answers[3:])) == 1
    assert len(encoder.saved()[0]["categories"]["id"]) == 3


def test_text_where_there_were_numbers_is_named() -> None:
    with pytest.raises(ModelError, match="feature 'x' is a number"):
        Encoder({"x": "number"}, 2).encode(pd.DataFrame({"x": ["tall"]}))


def test_altered_categories_are_refused() -> None:
    frame, labels = made(50)
    encoder = Encoder(kinds_of(frame), 3)
    encoder.learn(frame, labels)
    kept, arrays = encoder.saved()
    for wrong in ({"categories": {"kind": ["a", "a", "b"]}}, {"categories": {"kind": ["a"]}}):
        with pytest.raises(ModelError, match="was altered"):
            Encoder(kinds_of(frame), 3).restore(kept | wrong, arrays)
    with pytest.raises(ModelError, match="was altered"):
        Encoder(kinds_of(frame), 3).restore(kept, arrays | {"shares": np.zeros((1, 9))})
