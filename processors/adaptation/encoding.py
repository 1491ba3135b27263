"""Features of a pipeline as columns of numbers: numbers as they are, text by what labels said of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation import encoding_kernel
from tidemill.schemas.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

WEIGHT = 10.0
"""Rows of the whole stream that are added to each category's own: one that is rare says little."""
KEEP = 0.999
"""What a label counts after the next one of its category: those of about the newest thousand count."""
MOST_CATEGORIES = 10_000
"""Categories of a feature that are told apart; any later one is as one that was never seen."""
_LARGEST = 1e30


class Encoder:
    """Frames of numbers, booleans and text to rows (n × `width`) of numbers in single precision, NaN where missing.

    A text feature becomes the share of the second class among its category's labels so far, or of every class if there
    are more than two: ordered target statistics (Prokhorenkova et al., CatBoost, NeurIPS 2018), so that a row is never
    shown what its own label said. Missing text is a category of its own; one never seen has the shares of the stream.
    How rows are cut into blocks changes nothing.

    >>> import pandas as pd
    >>> encoder = Encoder({"price": "number", "shop": "text"}, classes=2)
    >>> frame = pd.DataFrame({"price": [1.0, None, 3.0], "shop": ["a", "a", "b"]})
    >>> encoder.learn(frame, np.array([1, 1, 0])).round(2).tolist()
    [[1.0, 0.5], [nan, 1.0], [3.0, 1.0]]
    >>> encoder.encode(frame).round(2)[:, 1].tolist()
    [0.72, 0.72, 0.61]
    """

    def __init__(self, kinds: Mapping[str, str], classes: int) -> None:
        """`kinds` says of each feature whether it is a "number" or "text"; `classes` is how many there are."""
        self.kinds = dict(kinds)
        # With two classes the share of one says what that of the other is.
        self._first, self._columns = (1, 1) if classes == 2 else (0, classes)
        texts = [name for name, kind in self.kinds.items() if kind == "text"]
        self.width = len(self.kinds) - len(texts) + len(texts) * self._columns
        self._codes: dict[str, dict[str | None, int]] = {name: {None: 0} for name in texts}
        self._counts = {name: np.zeros((8, classes)) for name in texts}
        self._shares = np.zeros((max(len(texts), 1), classes))

    def encode(self, frame: "pd.DataFrame") -> _Floats:
        """Rows by what is known now."""
        return self._encoded(frame, None)

    def learn(self, frame: "pd.DataFrame", labels: _Integers) -> _Floats:
        """Rows, each by what was known before its label; the labels (class codes) are then known."""
        return self._encoded(frame, labels)

    def _encoded(self, frame: "pd.DataFrame", labels: _Integers | None) -> _Floats:
        rows, place = np.empty((len(frame), self.width)), 0
        texts = iter(self._shares)
        for name, kind in self.kinds.items():
            if kind == "number":
                rows[:, place] = _numbers(frame, name)
                place += 1
                continue
            out, shares = np.empty((len(frame), self._columns)), next(texts)
            codes = self._coded(frame, name, new=labels is not None)
            if labels is None:
                encoding_kernel.show(codes, self._counts[name], shares, WEIGHT, self._first, out)
            else:
                encoding_kernel.learn(codes, labels, self._counts[name], shares, WEIGHT, KEEP, self._first, out)
            rows[:, place : place + self._columns] = out
            place += self._columns
        # What is stored of rows is in single precision: answers and fits see the same.
        return rows.astype(np.float32).astype(np.float64)

    def _coded(self, frame: "pd.DataFrame", name: str, *, new: bool) -> _Integers:
        codes, values = self._codes[name], _texts(frame, name)
        if new:
            for value in values:
                if value not in codes and len(codes) <= MOST_CATEGORIES:
                    codes[value] = len(codes)
            counts = self._counts[name]
            if len(codes) > len(counts):
                self._counts[name] = np.pad(counts, [(0, 2 * len(codes) - len(counts)), (0, 0)])
        return np.array([codes.get(value, -1) for value in values], np.int64)

    def saved(self) -> tuple[dict[str, Any], Arrays]:
        """All that it knows: what JSON can hold, and arrays."""
        categories = {name: list(codes)[1:] for name, codes in self._codes.items()}
        counts = {f"counts {name}": self._counts[name][: len(codes)] for name, codes in self._codes.items()}
        return {"kinds": self.kinds, "categories": categories}, {"shares": self._shares, **counts}

    def restore(self, kept: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on where one of the same features was saved; raises ModelError for what was not saved by one."""
        classes = self._shares.shape[1]
        for name in self._codes:
            categories: Sequence[str] = kept["categories"][name]
            codes = {None: 0} | {str(value): place for place, value in enumerate(categories, 1)}
            counts = arrays[f"counts {name}"]
            if counts.shape != (len(categories) + 1, classes) or len(codes) != len(counts):
                raise ModelError(f"the stored categories of {name} are none that this model saves: it was altered")
            self._codes[name], self._counts[name] = codes, counts.astype(np.float64)
        if arrays["shares"].shape != self._shares.shape:
            raise ModelError("stored shares of classes are none that this model saves: it was altered")
        self._shares = arrays["shares"].astype(np.float64)


def kinds_of(frame: "pd.DataFrame") -> dict[str, str]:
    """Whether each column is a "number" (booleans too) or "text"; one of objects is what its first known value is."""
    return {str(name): "text" if _is_text(column) else "number" for name, column in frame.items()}


def _is_text(column: Any) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return False
    known = column.dropna()
    # As a pipeline shows text of which nothing is known yet.
    return len(known) == 0 or isinstance(known.iloc[0], str)


def _numbers(frame: "pd.DataFrame", name: str) -> _Floats:
    if name not in frame:
        return np.full(len(frame), np.nan)
    try:
        values = np.array(frame[name].to_numpy(np.float64, na_value=np.nan), np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"feature {name!r} is a number since the first rows that were learned: {error}") from None
    values[~np.isfinite(values)] = np.nan
    return values.clip(-_LARGEST, _LARGEST)


def _texts(frame: "pd.DataFrame", name: str) -> list[str | None]:
    if name not in frame:
        return [None] * len(frame)
    return [None if value is None or value != value else str(value) for value in frame[name].tolist()]
