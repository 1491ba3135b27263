"""Labels and predictions brought together: what happened, beside what was predicted.

What comes of an event depends on its prediction, its labels and their order among themselves, and not on whether they
came before the prediction or after it: a label that has none yet waits, and is then treated as if it came after it.
A label is late by its own time, not by when it came. When labels are given up is decided by the clock of events: the
greatest event time so far, but of no event later than when its record was sent. Where labels have no time of their own,
the times at which records were sent stand for both.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.outcomes.ageing import NEVER, SPARE
from tidemill.processors.outcomes.answers import LABEL, REVISION, Answers
from tidemill.processors.outcomes.early import COUNTED, LABEL_TIME, OFFSET, PARTITION, UNKNOWN, USED, EarlyLabels
from tidemill.processors.outcomes.ids import Ids
from tidemill.processors.outcomes.policy import Horizon, Policies
from tidemill.processors.outcomes.predictions import EVENT_ID, EVENT_TIME, SENT, SOURCE_PARTITION, Predictions
from tidemill.processors.outcomes.tally import Tally

RECORD_TIME = "record_time"
CONFIDENCE, ANNOTATOR = "confidence", "annotator"
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


def label_schema(label: pa.DataType) -> pa.Schema:
    """A label as it waits: what was said, when and by whom, and where it stands on the labels topic."""
    return pa.schema(
        [
            pa.field(LABEL, label),
            pa.field(LABEL_TIME, pa.int64()),
            pa.field(REVISION, pa.int64()),
            pa.field(CONFIDENCE, pa.float64()),
            pa.field(ANNOTATOR, pa.string()),
            pa.field(PARTITION, pa.int64()),
            pa.field(OFFSET, pa.int64()),
            pa.field(RECORD_TIME, pa.int64()),
        ]
    )


class RefusedLabel(NamedTuple):
    """A label that is rejected: where it stands, and why."""

    partition: int
    offset: int
    timestamp: int
    reason: str
    message: str


@dataclass
class Joined:
    """What came of a batch: the predictions' rows beside the labels', and the labels that were refused."""

    outcomes: pa.Table
    predicted: pa.Table
    """The predictions that came with it, those of ids that had one left out."""
    is_first: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Which of the outcomes are the first of their event."""
    refused: list[RefusedLabel] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class PartitionJoin:
    """All that one partition of ids waits for."""

    def __init__(
        self,
        prediction: pa.Schema,
        label: pa.DataType,
        horizon: Horizon,
        policies: Policies,
        *,
        revised: bool,
        spare: int = SPARE,
    ) -> None:
        """`revised` says that labels name their revision: then its number decides which label is the last.

        A label's time is set against the column `sent` of `prediction` if it has one, else against `event_time`.
        """
        self._horizon, self._policies, self._revised = horizon, policies, revised
        self._ids = Ids()
        since = SENT if SENT in prediction.names else EVENT_TIME
        self.predictions = Predictions(self._ids, prediction, horizon.kept, spare, since=since)
        self.answers = Answers(self._ids, label, self.predictions.has)
        self.predictions.followers.append(self.answers.drop)
        self.early = EarlyLabels(self._ids, label_schema(label), horizon.kept, spare)
        self.clock = NEVER
        self.reached: dict[int, int] = {}
        """By partition of events the greatest event time, in microseconds, but of none later than when it was sent."""
        self.tally = Tally()

    def restored(self) -> None:
        """All stores are as they were."""
        self.answers.settle()

    def take(
        self,
        predictions: pa.Table,
        predicted_at: NDArray[np.int64],
        labels: pa.Table,
        labelled_at: NDArray[np.int64],
        clock: int,
    ) -> Joined:
        """Take in rows in the order of the log; `…_at` gives each row's place in it, and `clock` how far events are."""
        self.clock = max(self.clock, clock)
        before = self.tally.counts.copy()
        joined = Joined(_no_outcomes(self.predictions.schema, labels.schema), predictions)
        ids = pa.concat_arrays([t[EVENT_ID].combine_chunks().cast(pa.string()) for t in (predictions, labels)])
        slots = self._ids.find(ids)
        own, theirs = slots[: len(predictions)], slots[len(predictions) :]
        fresh, released = self._predict(own, predictions)
        joined.predicted = predictions.take(pa.array(fresh))
        self._see(joined.predicted)
        order = np.argsort(own[fresh], kind="stable")
        came = _place(theirs, own[fresh][order], predicted_at[fresh][order])
        labels = labels.drop_columns([EVENT_ID])
        theirs, labels = self._hold_early(theirs, labels, labelled_at, came, joined)
        waited = self.early.take(released).select(labels.column_names)
        told = np.concatenate([self.early.is_unknown(released), np.zeros(len(theirs), bool)])
        self.early.mark(released, USED)
        events = np.concatenate([self.early.events(released), theirs])
        candidates = _Candidates(events, _both(waited, labels), told)
        self._join(self._in_time(candidates, joined), joined)
        self._give_up(joined)
        self._ids.sweep(slots)
        self.predictions.forget(self.clock)
        self.early.forget(self.clock)
        joined.counts = dict(self.tally.counts - before)
        return joined

    def _see(self, predicted: pa.Table) -> None:
        """Move on the event time of what was seen."""
        if len(predicted):
            bound = predicted[SENT].to_numpy() if SENT in predicted.column_names else self.clock
            times = np.minimum(predicted[EVENT_TIME].to_numpy(), bound)
            source = predicted[SOURCE_PARTITION].to_numpy()
            for p in np.unique(source).tolist():
                self.reached[p] = max(self.reached.get(p, NEVER), int(times[source == p].max()))

    def _predict(self, slots: NDArray[np.int64], table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Remember predictions; returns which rows were the first of their id, and the labels that waited for them."""
        _, first = np.unique(slots, return_index=True)
        fresh = np.sort(first[~self.predictions.has(slots[first])])
        self.tally.counts["repeated"] += len(slots) - len(fresh)
        new = slots[fresh]
        released = self.early.of(new) if self._ids.is_held(new).any() else _NONE
        self.predictions.add(new, table.take(pa.array(fresh)))
        self.tally.saw(self.predictions.event_times(new))
        return fresh, released

    def _hold_early(
        self,
        slots: NDArray[np.int64],
        labels: pa.Table,
        at: NDArray[np.int64],
        came: NDArray[np.int64],
        joined: Joined,
    ) -> tuple[NDArray[np.int64], pa.Table]:
        """Let labels wait whose prediction is not there; returns the others. `came` is when the predictions came."""
        known = self.predictions.has(slots)
        early = ~known | (came > at)
        self.tally.counts["early"] += int(early.sum())
        if self._policies.early == "wait":
            self.early.add(slots[~known], labels.filter(pa.array(~known)))
            return slots[known], labels.filter(pa.array(known))
        if self._policies.early == "reject":
            for row in labels.filter(pa.array(early)).to_pylist():
                joined.refused.append(
                    _refused(row, "early_label", "expected a label after its event's prediction, got it before")
                )
        return slots[~early], labels.filter(pa.array(~early))

    def _in_time(self, candidates: "_Candidates", joined: Joined) -> "_Candidates":
        delay = candidates.times - self.predictions.times(candidates.slots)
        late = delay > self._horizon.within
        self.tally.counts["late"] += int(late.sum())
        if self._policies.late == "join" or not late.any():
            return candidates
        if self._policies.late == "reject":
            for place in np.flatnonzero(late).tolist():
                message = (
                    f"expected a label dated within {self._horizon.within / 1e6:,.0f} s after its event, got one"
                    f" {delay[place] / 1e6:,.0f} s after it"
                )
                candidates.refuse(place, "late_label", message, joined)
        return candidates.take(np.flatnonzero(~late))

    def _join(self, candidates: "_Candidates", joined: Joined) -> None:
        """Decide label by label, those of one event one after the other."""
        rank = _rank(candidates.slots)
        taken, numbers, firsts = [_NONE], [_NONE], [np.zeros(0, np.bool_)]
        for turn in range(int(rank.max(initial=-1)) + 1):
            here = np.flatnonzero(rank == turn)
            accepted, number, first = self._decide(candidates.take(here), joined)
            taken.append(here[accepted])
            numbers.append(number)
            firsts.append(first)
        places = np.concatenate(taken)
        order = np.argsort(places, kind="stable")
        if len(places):
            chosen = candidates.take(places[order])
            joined.outcomes = self._outcomes(chosen, np.concatenate(numbers)[order])
            joined.is_first = np.concatenate(firsts)[order]

    def _decide(
        self, given: "_Candidates", joined: Joined
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Of labels of different events: which count from now on, with which revision, and which are their first."""
        slots, counts = given.slots, self.tally.counts
        answered = self.answers.has(slots).copy()
        declared = given.revisions
        number = declared.copy() if self._revised else np.zeros(len(slots), np.int64)
        accepted = ~answered
        again = np.flatnonzero(answered)
        if len(again):
            current = self.answers.take(slots[again])
            same = pc.equal(current[LABEL], given.table[LABEL].take(pa.array(again))).to_numpy()
            reached = current[REVISION].to_numpy()
            older = declared[again] < reached if self._revised else np.zeros(len(again), bool)
            newer = declared[again] > reached if self._revised else np.zeros(len(again), bool)
            doubled = same & ~newer & ~older
            changed = ~doubled & ~older
            counts["doubled"] += int(doubled.sum())
            counts["outdated"] += int(older.sum())
            counts["changed"] += int(changed.sum())
            if not self._revised:
                number[again] = reached + 1
            if self._policies.changed == "revise":
                accepted[again[changed]] = True
            elif self._policies.changed == "reject":
                message = "expected one label for an event, got another one after it"
                for place in again[changed].tolist():
                    given.refuse(place, "changed_label", message, joined)
        first = np.flatnonzero(~answered)
        counts["joined"] += len(first)
        self.tally.delayed(given.times[first] - self.predictions.times(slots[first]))
        self.tally.answered(self.predictions.event_times(slots[first]))
        chosen = np.flatnonzero(accepted)
        table = pa.table([given.table[LABEL].take(pa.array(chosen)), pa.array(number[chosen])], names=[LABEL, REVISION])
        self.answers.put(slots[chosen], table)
        return chosen, number[chosen], ~answered[chosen]

    def _outcomes(self, chosen: "_Candidates", number: NDArray[np.int64]) -> pa.Table:
        made = self.predictions.take(chosen.slots).append_column(EVENT_ID, self._ids.take(chosen.slots))
        for name in chosen.table.column_names:
            column = pa.array(number) if name == REVISION else chosen.table[name]
            made = made.append_column(f"@{name}", column)
        return made

    def _give_up(self, joined: Joined) -> None:
        """Say of labels that their event is not known, once their horizon has passed."""
        due = self.early.overdue(self.clock - self._horizon.within)
        if not len(due):
            return
        self.tally.counts["unknown"] += len(due)
        self.early.mark(due, UNKNOWN if self._policies.unknown == "reject" else COUNTED)
        if self._policies.unknown == "reject":
            for row in self.early.take(due).to_pylist():
                message = (
                    f"expected the id of an event that was predicted, got {row[EVENT_ID]!r}, for which no prediction"
                    " came within the horizon"
                )
                joined.refused.append(_refused(row, "unknown_id", message))


@dataclass(frozen=True)
class _Candidates:
    """Labels whose prediction is known, in the order in which they count."""

    slots: NDArray[np.int64]
    table: pa.Table
    told: NDArray[np.bool_]
    """Which were told as unknown: none is refused twice."""

    @property
    def times(self) -> NDArray[np.int64]:
        return np.asarray(self.table[LABEL_TIME].to_numpy(), np.int64)

    @property
    def revisions(self) -> NDArray[np.int64]:
        return np.asarray(self.table[REVISION].to_numpy(), np.int64)

    def take(self, rows: NDArray[np.int64]) -> "_Candidates":
        return _Candidates(self.slots[rows], self.table.take(pa.array(rows)), self.told[rows])

    def refuse(self, place: int, reason: str, message: str, joined: Joined) -> None:
        if not self.told[place]:
            joined.refused.append(_refused(self.table.slice(place, 1).to_pylist()[0], reason, message))


def _both(first: pa.Table, second: pa.Table) -> pa.Table:
    return pa.concat_tables([first.cast(second.schema), second]).combine_chunks()


def _rank(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows before each one have its slot."""
    order = np.argsort(slots, kind="stable")
    rank = np.zeros(len(slots), np.int64)
    if len(slots):
        starts = np.flatnonzero(np.diff(slots[order], prepend=slots[order][0] - 1))
        rank[order] = np.arange(len(slots)) - np.repeat(starts, np.diff([*starts, len(slots)]))
    return rank


def _place(slots: NDArray[np.int64], known: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """When each slot's prediction came, of those that are among the known ones, which are sorted; else long ago."""
    out = np.full(len(slots), NEVER, np.int64)
    if len(known):
        places = np.minimum(np.searchsorted(known, slots), len(known) - 1)
        found = known[places] == slots
        out[found] = at[places[found]]
    return out


def _no_outcomes(predictions: pa.Schema, labels: pa.Schema) -> pa.Table:
    own = [pa.field(EVENT_ID, pa.string())]
    return pa.schema(
        [*predictions, *own, *(pa.field(f"@{f.name}", f.type) for f in labels if f.name != EVENT_ID)]
    ).empty_table()


def _refused(row: dict[str, object], reason: str, message: str) -> RefusedLabel:
    partition, offset, at = (int(str(row[name])) for name in (PARTITION, OFFSET, RECORD_TIME))
    return RefusedLabel(partition, offset, at, reason, message)
