"""Streams of labelled rows: those in a folder, and made ones, whose drifts are known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DRIFTS: dict[str, tuple[int, ...]] = {
    "insects_gradual_balanced": (14_028,),
    "sea_50k": (12_500, 25_000, 37_500),
    "lobo_sine_0123_abrupto": (10_000, 20_000, 30_000),
    "lobo_mixed_0101_abrupto": (10_000, 20_000, 30_000),
    "lobo_stagger_0120_abrupto": (10_000, 20_000, 30_000),
    "lobo_sea_0123_gradual_noise_0.2": (10_000, 20_000, 30_000),
}
"""Rows at which concepts are known to begin to change; nothing is known of the others."""
MADE_ROWS = 12_000


@dataclass(frozen=True)
class Stream:
    """Rows (n × features) in their order, the code of each one's class, and where it drifts, if that is known."""

    name: str
    rows: Floats
    labels: Integers
    classes: int
    drifts: tuple[int, ...] | None

    @property
    def begin(self) -> int:
        """The first row that is scored."""
        return len(self.labels) // 10

    def head(self, rows: int) -> "Stream":
        drifts = self.drifts and tuple(drift for drift in self.drifts if drift < rows)
        return replace(self, rows=self.rows[:rows], labels=self.labels[:rows], drifts=drifts)

    def permuted(self, seed: int = 0) -> "Stream":
        """The same rows, with labels that have nothing to do with them."""
        return replace(self, labels=np.random.default_rng(seed).permutation(self.labels), drifts=())


def read(path: Path) -> Stream:
    """A Parquet file whose last column is `label`; what is not a number becomes a code."""
    table = pl.read_parquet(path)
    columns = [_numbers(table[name]) for name in table.columns if name != "label"]
    classes, labels = np.unique(table["label"].to_numpy(), return_inverse=True)
    # In single precision, as what ships keeps them: all methods see the same.
    rows = np.column_stack(columns).astype(np.float32).astype(np.float64)
    return Stream(path.stem, rows, labels.astype(np.int64), len(classes), DRIFTS.get(path.stem))


def _numbers(column: Any) -> Floats:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        column = column.rank("dense")
    values: Floats = column.cast(pl.Float64).to_numpy()
    return values


def _linear(name: str, directions: Callable[[Floats], Floats], drifts: tuple[int, ...], noise: float = 0.1) -> Stream:
    """Two classes on both sides of a line through ten features; `directions` gives it for shares of the stream."""
    chance = np.random.default_rng([7, len(name)])
    rows = chance.normal(size=(MADE_ROWS, 10))
    lines = directions(np.arange(MADE_ROWS) / MADE_ROWS)
    labels = (np.einsum("ij,ij->i", rows, lines) > 0) ^ (chance.random(MADE_ROWS) < noise)
    return Stream(name, rows.astype(np.float32).astype(np.float64), labels.astype(np.int64), 2, drifts)


def _turned(angles: Floats) -> Floats:
    lines = np.zeros((len(angles), 10))
    lines[:, 0], lines[:, 1], lines[:, 2] = np.cos(angles), np.sin(angles), 0.5
    return lines


def made() -> list[Stream]:
    """One that never changes, one of two concepts that take turns, one that turns slowly."""
    turns = tuple(MADE_ROWS * part // 6 for part in range(1, 6))
    return [
        _linear("made_stationary", lambda share: _turned(0 * share), ()),
        _linear("made_recurring", lambda share: _turned(np.floor(share * 6) % 2 * 2.0), turns),
        _linear("made_turning", lambda share: _turned(np.clip((share - 0.2) / 0.6, 0, 1) * 3.0), None),
    ]
