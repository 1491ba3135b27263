"""The shipped sequential detector: Shiryaev-Roberts over what is not known.

Shiryaev (1963) and Roberts (1966) sum the likelihood ratios of all rows at which a change may have begun; the sum grows
by one a row as long as nothing changes, so an alarm at the height `c` comes no sooner than every `c` rows on average
(Pollak, Annals of Statistics, 1985), and no detector with as few false alarms is much faster. The level before the
change is not known but learnt: the sum is averaged over its posterior. That of the change is not known either: the sum
is a mixture over a few ratios, an e-detector in the words of Shin, Ramdas and Rinaldo (2023).
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.processors.drift import shiryaev_roberts_kernel as kernel
from tidemill.processors.drift.levels import Levels, error_levels, loss_levels
from tidemill.schemas.errors import DeclarationError

_Floats = NDArray[np.float64]

RISES = {"errors": ((1.3, 0.1), (1.75, 0.8), (4.0, 0.1)), "losses": ((1.15, 0.1), (1.5, 0.8), (3.0, 0.1))}
"""Ratios of odds (errors) or means (losses) that are looked for, with their weights."""
FALL = 0.57
_MOST_BASELINE_ROWS = 1_000
# A fall only costs a new baseline, and one for nothing makes the detector slow for a while: be surer of it.
_SURER_OF_FALLS = 10.0


class ShiryaevRoberts:
    """An alarm when errors, or losses, have become more frequent than they were.

    `update` takes one outcome: 0 or 1 for errors, a loss of 0 or more. `update_block` takes the sum of several, at the
    same cost: the same recursion, in which a change begins with a block. Blocks of one give the same result, bit for
    bit. `rows_per_alarm` is how many rows without a change there are at least, on average, between alarms.

    `baseline` is the mean level and the number of rows it was found on, such as a reference profile's, which counts as
    at most 1,000 rows; without it, and after each alarm, the level is learnt from the stream. A fall of the level is
    no alarm (`improved` says so); the baseline is then learnt anew. Rows that depend on those before them are
    recognised by how batches of them vary, and weigh less.

    >>> detector = ShiryaevRoberts()
    >>> outcomes = [i % 5 == 0 for i in range(2000)] + [i % 5 < 3 for i in range(100)]
    >>> alarm = next(i for i, wrong in enumerate(outcomes) if detector.update(wrong) or detector.drift_detected)
    >>> 2000 < alarm < 2040, abs(detector.change_point - 2000) < 10
    (True, True)
    """

    def __init__(
        self,
        *,
        kind: Literal["errors", "losses"] = "errors",
        rows_per_alarm: float = 45_000,
        baseline: tuple[float, float] | None = None,
    ) -> None:
        if kind not in RISES:
            raise DeclarationError(f"a detector is of 'errors' or 'losses', not of {kind!r}")
        if not 100 <= rows_per_alarm < float("inf"):
            raise DeclarationError(f"rows_per_alarm: expected at least 100 rows, got {rows_per_alarm!r}")
        if baseline is not None and not (
            0 <= baseline[0] <= (1 if kind == "errors" else float("inf")) and baseline[1] > 0
        ):
            raise DeclarationError(f"baseline: expected the mean level of {kind} and its rows, got {baseline!r}")
        self.kind, self.rows_per_alarm = kind, float(rows_per_alarm)
        self.threshold = self.rows_per_alarm
        """May be raised while it runs: for more rows than those that were asked for."""
        self.drift_detected = self.improved = False
        self.change_point: int | None = None
        self._changes = [ratio for ratio, _ in RISES[kind]] + [FALL]
        self._weights = [weight for _, weight in RISES[kind]] + [1.0]
        self._scales = np.zeros((kernel.SCALES, kernel.SCALE_FIELDS))
        self._registers = np.zeros(kernel.REGISTERS)
        self._registers[kernel.DISPERSION] = 1.0
        self._statistic = 0.0
        self._posterior: _Floats = np.zeros(0)
        self._one = (np.zeros(1), np.ones(1))
        self._arm(baseline)

    @property
    def statistic(self) -> float:
        """The evidence for a rise, to be compared with `threshold`; that of the alarm until the next update."""
        return self._statistic if self.drift_detected else float(self._registers[kernel.RISEN])

    @property
    def rows(self) -> int:
        """How many rows were seen."""
        return int(self._registers[kernel.SEEN])

    @property
    def dispersion(self) -> float:
        """How much more the rows vary than independent ones of this level would."""
        return float(self._registers[kernel.DISPERSION])

    def update(self, value: float) -> None:
        """Take one outcome."""
        self.update_block(value, 1)

    def update_block(self, total: float, rows: float) -> None:
        """Take the sum of several outcomes. Raises ValueError for what cannot be one, and is then as before."""
        self._check(total, rows)
        self._one[0][0], self._one[1][0] = total, rows
        self._advance(*self._one)

    def update_blocks(self, totals: ArrayLike, rows: ArrayLike | None = None) -> int | None:
        """Take many blocks, or outcomes, until the first alarm; the index of the block that brought it, if any."""
        sums = np.ascontiguousarray(totals, np.float64)
        counts = np.ones(len(sums)) if rows is None else np.ascontiguousarray(rows, np.float64)
        for wrong in np.flatnonzero(~self._possible(sums, counts))[:1]:
            self._check(sums[wrong], counts[wrong])
        taken = 0
        while taken < len(sums):
            taken += self._advance(sums[taken:], counts[taken:])
            if self.drift_detected:
                return taken - 1
        return None

    def _possible(self, totals: Any, rows: Any) -> Any:
        most = rows if self.kind == "errors" else np.inf
        return (totals >= 0) & (totals <= most) & (totals < np.inf) & (rows > 0) & (rows < np.inf)

    def _check(self, total: float, rows: float) -> None:
        if not self._possible(total, rows):
            what = "0 or 1" if self.kind == "errors" else "a finite number, 0 or more"
            raise ValueError(f"the outcome of a row must be {what}; got the sum {total!r} of {rows!r} rows")

    def _advance(self, totals: _Floats, rows: _Floats) -> int:
        self.drift_detected = self.improved = False
        if self._levels is None:
            return self._settle(totals, rows)
        levels, registers = self._levels, self._registers
        taken = kernel.advance(
            totals,
            rows,
            levels.slopes,
            levels.offsets,
            levels.weights,
            len(self._changes) - 1,
            (self.threshold, _SURER_OF_FALLS * self.threshold),
            self.kind == "errors",
            self._posterior,
            self._ratios,
            self._peaks,
            self._origins,
            self._scales,
            registers,
        )
        if registers[kernel.RISEN] >= self.threshold:
            self.drift_detected, self._statistic = True, float(registers[kernel.RISEN])
            self.change_point = self._origin()
            self._arm()
        elif registers[kernel.FALLEN] >= _SURER_OF_FALLS * self.threshold:
            self.improved = True
            self._arm()
        return int(taken)

    def _origin(self) -> int:
        """The row at which the change most likely began."""
        assert self._levels is not None
        inside = slice(int(self._registers[kernel.FIRST]), int(self._registers[kernel.LAST]))
        likely = (self._levels.weights * self._posterior * self._peaks)[:-1, inside]
        return int(self._origins[:-1, inside].flat[int(likely.argmax())])

    def _arm(self, baseline: tuple[float, float] | None = None) -> None:
        """Learn the level from here, or from a baseline that is given."""
        registers, known = self._registers, self._posterior
        registers[[kernel.ROWS, kernel.TOTAL, kernel.RISEN, kernel.FALLEN]] = 0
        self._levels: Levels | None = None
        if self.kind == "errors":
            self._place(0.0, baseline)
            # As likely as not the level is the old one again: the alarm was false, or the change will pass.
            if len(known):
                self._posterior += (known - self._posterior) / 2
        elif baseline is not None and baseline[0] > 0:
            self._place(baseline[0], baseline)

    def _place(self, centre: float, known: tuple[float, float] | None) -> None:
        losses = self.kind == "losses"
        grid = (self._changes, self._weights)
        levels = self._levels = loss_levels(centre, *grid) if losses else error_levels(*grid)
        self._centre = centre
        self._posterior = levels.prior.copy()
        self._ratios = np.zeros_like(levels.weights)
        self._peaks = np.zeros_like(levels.weights)
        self._origins = np.zeros_like(levels.weights)
        self._registers[[kernel.FIRST, kernel.LAST]] = 0, len(levels.prior)
        if known is not None:
            count = min(known[1], _MOST_BASELINE_ROWS)
            density = count * (known[0] * levels.slopes[0] + levels.offsets[0])
            self._posterior *= np.exp(density - density.max())
            self._posterior /= self._posterior.sum()
            self._registers[[kernel.ROWS, kernel.TOTAL]] = count, count * known[0]

    def _settle(self, totals: _Floats, rows: _Floats) -> int:
        """Take losses until their size is known."""
        registers = self._registers
        for taken, (total, count) in enumerate(zip(totals.tolist(), rows.tolist(), strict=True), 1):
            registers[[kernel.ROWS, kernel.TOTAL, kernel.SEEN]] += count, total, count
            if registers[kernel.ROWS] >= kernel.SETTLED and registers[kernel.TOTAL] > 0:
                known = registers[kernel.TOTAL] / registers[kernel.ROWS], registers[kernel.ROWS]
                self._place(known[0], known)
                return taken
        return len(totals)

    def saved(self) -> dict[str, Any]:
        """What the detector has learnt, as JSON can hold it, to the bit."""
        parts: dict[str, Any] = {"registers": _packed(self._registers), "scales": _packed(self._scales)}
        if self._levels is not None:
            parts["centre"] = self._centre
            parts |= {name: _packed(getattr(self, f"_{name}")) for name in _LEARNT}
        return parts

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where a detector of the same settings was saved; what its last update said is not kept.

        Raises ValueError for what was not saved by one.
        """
        self._levels = None
        if "centre" in saved:
            self._place(saved["centre"], None)
            for name in _LEARNT:
                array = getattr(self, f"_{name}")
                array[...] = _unpacked(saved[name]).reshape(array.shape)
        self._registers[:] = _unpacked(saved["registers"])
        self._scales[...] = _unpacked(saved["scales"]).reshape(self._scales.shape)
        first, last = self._registers[[kernel.FIRST, kernel.LAST]]
        if not 0 <= first <= last <= len(self._posterior):
            raise ValueError(f"expected a part of a grid of {len(self._posterior)} levels, got {first} to {last}")


_LEARNT = ("posterior", "ratios", "peaks", "origins")


def _packed(array: _Floats) -> str:
    # Most of a grid is 0.
    return b64encode(zlib.compress(array.astype("<f8").tobytes(), 1)).decode()


def _unpacked(text: str) -> _Floats:
    return np.frombuffer(zlib.decompress(b64decode(text)), "<f8")
