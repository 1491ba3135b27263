"""Which of the labelled rows a model learns from: small declarations, each of which chooses or weighs rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.duration import duration
from tidemill.processors.frames import to_polars
from tidemill.processors.training.chance import lots
from tidemill.processors.training.columns import EVENT_TIME, LABEL_TIME
from tidemill.processors.training.preparation import weighted
from tidemill.schemas.errors import DeclarationError, nearest

Clock = Literal["event_time", "label_time"]
_CLOCKS = (EVENT_TIME, LABEL_TIME)


class Selection(Protocol):
    """What chooses rows. Rows come, and stay, in the order in which their labels became known."""

    def choose(self, rows: pa.Table) -> pa.Table:
        """The rows chosen, perhaps with `sample_weight`."""
        ...

    def describe(self) -> dict[str, Any]:
        """The declaration as JSON can hold it; `selection_of` reads it."""
        ...


@dataclass(frozen=True)
class LastRows:
    """See `last_rows`."""

    n: int

    def choose(self, rows: pa.Table) -> pa.Table:
        """The last `n` of them."""
        return rows.slice(max(rows.num_rows - self.n, 0))

    def describe(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"kind": "last_rows", **asdict(self)}


@dataclass(frozen=True)
class Since:
    """See `since`."""

    time: datetime
    by: Clock = "event_time"

    def choose(self, rows: pa.Table) -> pa.Table:
        """Those that are no older."""
        bound = pa.scalar(self.time, pa.timestamp("us", "UTC"))
        return rows.filter(pc.greater_equal(rows[self.by].cast(bound.type), bound))

    def describe(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"kind": "since", "time": self.time.astimezone(UTC).isoformat(), "by": self.by}


@dataclass(frozen=True)
class Decayed:
    """See `decayed`."""

    half_life: str | int
    by: Clock = "event_time"

    def choose(self, rows: pa.Table) -> pa.Table:
        """All of them, with weights."""
        if not rows.num_rows:
            return weighted(rows, np.ones(0))
        if isinstance(self.half_life, int):
            age, half = np.arange(rows.num_rows - 1, -1, -1, dtype=np.float64), float(self.half_life)
        else:
            times = rows[self.by].to_numpy().astype("datetime64[us]").astype(np.int64)
            age, half = (times.max() - times).astype(np.float64), float(duration(self.half_life))
        return weighted(rows, np.exp2(-age / half))

    def describe(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"kind": "decayed", **asdict(self)}


@dataclass(frozen=True)
class Stratified:
    """See `stratified`."""

    by: tuple[str, ...]
    n: int
    seed: int = 0

    def choose(self, rows: pa.Table) -> pa.Table:
        """A sample in which every stratum has its share."""
        for name in self.by:
            if name not in rows.column_names:
                raise DeclarationError(
                    f"stratified by {name!r}: there is no such column{nearest(name, rows.column_names)}"
                )
        if rows.num_rows <= self.n:
            return rows
        frame = to_polars(rows.select(list(self.by)))
        # Strata in the order of their values, so that the rows' order decides nothing.
        codes = frame.select(pl.struct(pl.all().cast(pl.String)).rank("dense").alias("code"))["code"].to_numpy() - 1
        lot, keep = lots(rows, self.seed), np.zeros(rows.num_rows, bool)
        for code, quota in enumerate(_quotas(np.bincount(codes), self.n)):
            (members,) = np.nonzero(codes == code)
            keep[members[np.argsort(lot[members], kind="stable")[:quota]]] = True
        return rows.filter(pa.array(keep))

    def describe(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"kind": "stratified", "by": list(self.by), "n": self.n, "seed": self.seed}


def last_rows(n: int) -> LastRows:
    """Learn from the `n` rows whose labels became known last.

    >>> last_rows(2).choose(pa.table({"label": [1, 2, 3]}))["label"].to_pylist()
    [2, 3]
    """
    return LastRows(_positive("last_rows", n))


def since(time: datetime | str, by: Clock = "event_time") -> Since:
    """Learn from events from this time on, such as the change that a detector found; `by` their labels' times if told.

    A time without a zone is UTC.

    >>> since("2024-03-01").time.isoformat()
    '2024-03-01T00:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise DeclarationError(f"since: expected a time such as '2024-03-01T06:00:00Z', got {time!r}") from None
    return Since(moment if moment.tzinfo else moment.replace(tzinfo=UTC), _clock("since", by))


def decayed(half_life: str | int, by: Clock = "event_time") -> Decayed:
    """Learn from all of the history, with half the weight for every `half_life` that a row is older than the newest.

    A duration such as "30d", or a number of rows.

    >>> decayed(1).choose(pa.table({"label": [1, 2, 3]}))["sample_weight"].to_pylist()
    [0.25, 0.5, 1.0]
    """
    if isinstance(half_life, int):
        _positive("decayed", half_life)
    elif duration(half_life) == 0:
        raise DeclarationError("decayed: expected a half-life longer than 0")
    return Decayed(half_life, _clock("decayed", by))


def stratified(by: str | Sequence[str], n: int, seed: int = 0) -> Stratified:
    """Learn from a sample of `n` rows in which each value of the columns `by` has the share that it has in all rows.

    A value that is there at all has at least one row while `n` allows it. The same seed draws the same rows.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names:
        raise DeclarationError("stratified: expected one column or more to sample by, such as 'label'")
    return Stratified(names, _positive("stratified", n), seed)


_KINDS: Mapping[str, Any] = {"last_rows": last_rows, "since": since, "decayed": decayed, "stratified": stratified}


def selection_of(described: Mapping[str, Any]) -> Selection:
    """What `describe` told of.

    >>> selection_of(stratified("label", 10).describe()) == stratified("label", 10)
    True
    """
    kind = described.get("kind", "")
    if kind not in _KINDS:
        raise DeclarationError(f"there is no selection {kind!r}{nearest(str(kind), _KINDS)}")
    made: Selection = _KINDS[kind](**{name: value for name, value in described.items() if name != "kind"})
    return made


def _quotas(counts: "np.ndarray[Any, np.dtype[np.int64]]", n: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Shares of `n` by largest remainder, and no stratum without a row while there are enough."""
    exact = counts * n / counts.sum()
    quotas: np.ndarray[Any, np.dtype[np.int64]] = np.floor(exact).astype(np.int64)
    if n >= len(counts):
        quotas = np.maximum(quotas, 1)
    while (missing := n - int(quotas.sum())) > 0:
        open_ = np.where(quotas < counts, exact - quotas, -np.inf)
        quotas[np.argsort(-open_, kind="stable")[:missing]] += 1
    while quotas.sum() > n:
        quotas[np.argmax(np.where(quotas > 1, quotas - exact, -np.inf))] -= 1
    return quotas


def _positive(name: str, n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise DeclarationError(f"{name}: expected a number of rows, at least 1; got {n!r}")
    return n


def _clock(name: str, by: str) -> Any:
    if by not in _CLOCKS:
        raise DeclarationError(f"{name}: expected by='event_time' or by='label_time'; got {by!r}{nearest(by, _CLOCKS)}")
    return by
