"""What was answered beside, waiting for what happened: from both, evidence for each matchup."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.drift.fairness import confusion_of
from tidemill.processors.drift.quality import class_places
from tidemill.processors.drift.slices import MOST_SLICES, slice_name
from tidemill.processors.frames import to_polars
from tidemill.processors.online_inference.target import Target
from tidemill.processors.rollout.comparison import Comparison, Numbers, losses, widest
from tidemill.processors.rollout.matchup import Matchup
from tidemill.processors.rollout.policy import Evidence, Stage
from tidemill.processors.rollout.slices import Group, Slice
from tidemill.processors.rollout.span import Span
from tidemill.processors.training.gates.declaration import Gates

MOST_WAITING = 1_000_000
"""Answers whose outcome has not come are kept up to so many; the oldest are given up."""
_PLACE = ["source_partition", "source_offset"]
_Pair = tuple[str, str]
"""Who was asked beside, and who was served."""


@dataclass
class _Stage:
    """What is known of one stage. Answers are paired with whoever was served instead."""

    compared: dict[_Pair, Comparison] = field(default_factory=dict)
    slices: dict[tuple[_Pair, str], dict[str, Slice]] = field(default_factory=dict)
    """By pair and field; candidate is whoever was asked beside."""
    groups: dict[tuple[_Pair, str], dict[str, Group]] = field(default_factory=dict)
    scored: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    span: Span = field(default_factory=Span)


class Ledger:
    """Takes rows of P.shadow-predictions and P.outcomes, and gives evidence; bounded in memory, and without I/O.

    An event's first outcome counts. Rows may come in any batches; an outcome finds the answers to its event that were
    taken before it.
    """

    def __init__(
        self,
        target: Target,
        metric: str,
        most_waiting: int = MOST_WAITING,
        gates: Gates | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> None:
        """`columns` of outcomes have the fields that `gates` declare for slices and as sensitive."""
        self._target, self._metric, self._most = target, metric, most_waiting
        self._gates, self._columns = gates or Gates(), columns or {}
        self._matchups: tuple[Matchup, ...] = ()
        self._stages: dict[int, _Stage] = {}
        self._waiting: pl.DataFrame | None = None
        self.given_up = 0
        """Answers that were dropped because too many were waiting."""

    def follow(self, matchups: Sequence[Matchup]) -> None:
        """Collect for these from now on, and forget all others."""
        if tuple(matchups) == self._matchups:
            return
        self._matchups = tuple(matchups)
        wanted = {stage for matchup in matchups for stage in matchup.stages}
        self._stages = {stage: self._stages.get(stage, _Stage()) for stage in wanted}
        if self._waiting is not None:
            self._waiting = self._waiting.filter(pl.col("stage").is_in(list(wanted)))

    def answers(self, table: pa.Table) -> None:
        """Rows of P.shadow-predictions, with `at`: the event time, or when the event was sent if that was earlier."""
        rows = to_polars(table).filter(pl.col("stage").is_in(list(self._stages)))
        if rows.is_empty():
            return
        failed = rows.filter(pl.col("failure").is_not_null())
        # A failure is held against a model only where the other one has an answer.
        both = failed.group_by(_PLACE).agg(pl.col("model_version").n_unique().alias("models"))
        alone = failed.join(both, on=_PLACE).filter(pl.col("models") == 1)
        for (stage, version), group in alone.group_by("stage", "model_version", maintain_order=True):
            kept = self._stages[int(stage)]
            kept.failed[str(version)] = kept.failed.get(str(version), 0) + len(group)
            kept.told[str(version)] = str(group["failure"][-1])
        for (stage, role, version), group in rows.group_by("stage", "role", "model_version", maintain_order=True):
            kept = self._stages[int(stage)]
            key = str(role), str(version)
            kept.scored[key] = kept.scored.get(key, 0) + len(group)
        for (stage,), group in rows.group_by("stage", maintain_order=True):
            self._stages[int(stage)].span.take(group["at"].to_numpy())
        # Of failures those are kept that the other model has answered: what happened then says in which slice they are.
        alone = alone.select(*_PLACE, "model_version")
        waits = rows.filter(pl.col("failure").is_null()), rows.join(alone, on=alone.columns, how="semi")
        kept_rows = pl.concat(waits).with_columns(pl.col("failure").is_not_null().alias("failed"))
        fresh = kept_rows.drop("failure", "role", "at")
        waiting = fresh if self._waiting is None else pl.concat([self._waiting, fresh])
        self.given_up += max(len(waiting) - self._most, 0)
        self._waiting = waiting.tail(self._most)

    def outcomes(self, table: pa.Table) -> None:
        """Rows of P.outcomes."""
        if self._waiting is None or self._waiting.is_empty() or not table.num_rows:
            return
        said = to_polars(table).unique(_PLACE, keep="first", maintain_order=True)
        said = said.rename({column: _named(name) for name, column in self._columns.items()})
        pairs = self._waiting.join(said, on=_PLACE, how="inner", suffix="_served")
        if pairs.is_empty():
            return
        self._waiting = self._waiting.join(said.select(_PLACE), on=_PLACE, how="anti")
        pairs = pairs.sort([*_PLACE, "stage", "model_version"])
        keys = ("stage", "model_version", "model_version_served")
        for (stage, mine, other), group in pairs.group_by(*keys, maintain_order=True):
            self._compare(self._stages[int(stage)], (str(mine), str(other)), group)

    def _compare(self, kept: _Stage, pair: _Pair, rows: pl.DataFrame) -> None:
        """Outcomes of one pair in one stage."""
        good = rows.filter(~pl.col("failed"))
        beside, served, apart = self._losses(good)
        made = Comparison.of(beside, served, apart)
        kept.compared[pair] = kept.compared.get(pair, Comparison()).merged(made)
        for name in self._gates.slices:
            known = kept.slices.setdefault((pair, name), {})
            failures = Counter(_values(rows.filter("failed"), name).tolist())
            failures.pop(None, None)
            for value, places in _by_value(_values(good, name)):
                here = Comparison.of(beside[places], served[places], apart[places])
                _add(known, slice_name(name, value), Slice(name, here, failures.pop(value, 0)))
            for value, count in failures.items():
                _add(known, slice_name(name, value), Slice(name, Comparison(), count))
        if self._gates.sensitive:
            self._count_groups(kept, pair, good)

    def _count_groups(self, kept: _Stage, pair: _Pair, good: pl.DataFrame) -> None:
        classes = self._target.classes
        told = good.select("label", "value", "value_served").to_arrow()
        happened, mine, theirs = (class_places(classes, told[name]) for name in told.column_names)
        for name in self._gates.sensitive:
            known = kept.groups.setdefault((pair, name), {})
            for value, places in _by_value(_values(good, name)):
                both = (confusion_of(happened[places], said[places], len(classes)) for said in (mine, theirs))
                _add(known, slice_name(name, value), Group(*both))

    def _losses(self, pairs: pl.DataFrame) -> tuple[Numbers, Numbers, Numbers]:
        """Of what was answered beside, of what was served, and how far they could have been apart."""
        sides = ("", "_served")
        values = [pairs[f"value{side}"].to_list() for side in sides]
        names, empty = self._target.columns(), np.empty((len(pairs), 0))
        scores = [np.column_stack([empty, *(pairs[f"{name}{side}"].to_numpy() for name in names)]) for side in sides]
        labels = pairs["label"].to_list()
        beside, served = (
            losses(self._metric, self._target, said, shares, labels)
            for said, shares in zip(values, scores, strict=True)
        )
        return beside, served, widest(self._metric, (values[0], values[1]), (scores[0], scores[1]))

    def evidence(self, matchup: Matchup) -> Evidence:
        """What is known of a matchup that is followed."""
        stages = [self._stages.get(stage, _Stage()) for stage in matchup.stages]
        here, before = stages[-1], stages[:-1]
        compared = [_between(stage, matchup) for stage in stages]
        earlier = Comparison()
        for found in compared[:-1]:
            earlier = earlier.merged(found)
        return Evidence(
            stage=matchup.stage,
            candidate=matchup.candidate,
            reference=matchup.reference,
            metric=self._metric,
            here=compared[-1],
            before=earlier,
            scored=_scored(here, matchup),
            failures=self._failures(matchup, matchup.candidate),
            span=here.span.length,
            span_before=sum(stage.span.length for stage in before),
            last_failure=here.told.get(matchup.candidate, ""),
            reference_failures=self._failures(matchup, matchup.reference),
            slices=self._slices(stages, matchup),
            groups=self._groups(stages, matchup),
        )

    def _slices(self, stages: Sequence[_Stage], matchup: Matchup) -> dict[str, Slice]:
        made: dict[str, Slice] = {}
        for stage, name in product(stages, self._gates.slices):
            for each, found in stage.slices.get(((matchup.candidate, matchup.reference), name), {}).items():
                made[each] = made.get(each, Slice(name)).merged(found)
            for each, found in stage.slices.get(((matchup.reference, matchup.candidate), name), {}).items():
                # Here the reference was asked beside, and what it failed on is not held against the candidate.
                made[each] = made.get(each, Slice(name)).merged(Slice(name, found.compared.turned()))
        return made

    def _groups(self, stages: Sequence[_Stage], matchup: Matchup) -> dict[str, dict[str, Group]]:
        made: dict[str, dict[str, Group]] = {name: {} for name in self._gates.sensitive}
        for stage, name in product(stages, self._gates.sensitive):
            for each, found in stage.groups.get(((matchup.candidate, matchup.reference), name), {}).items():
                _add(made[name], each, found)
            for each, found in stage.groups.get(((matchup.reference, matchup.candidate), name), {}).items():
                _add(made[name], each, Group(found.reference, found.candidate))
        return {name: groups for name, groups in made.items() if groups}

    def _failures(self, matchup: Matchup, version: str) -> int:
        """On how many events of this stage only this one of the two has failed."""
        if matchup.stage is not Stage.PROBATION:
            return self._stages.get(matchup.stages[-1], _Stage()).failed.get(version, 0)
        # A champion's failures are told with the newest of the stages that it is in.
        since = matchup.stages[-1]
        return sum(kept.failed.get(version, 0) for stage, kept in self._stages.items() if stage >= since)


_Kept = TypeVar("_Kept", Slice, Group)


def _add(known: dict[str, _Kept], name: str, found: _Kept) -> None:
    """Of a field with more values than can be looked at, those count that came first."""
    if name in known:
        known[name] = known[name].merged(found)
    elif len(known) < MOST_SLICES:
        known[name] = found


def _named(name: str) -> str:
    """A field's column, which no column of ours is called as."""
    return f"slice {name}"


def _values(rows: pl.DataFrame, name: str) -> NDArray[np.object_]:
    """A field's values as text; None for rows without one."""
    return rows[_named(name)].cast(pl.String).to_numpy()


def _by_value(values: NDArray[np.object_]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each value, and which rows have it."""
    for value in sorted({value for value in values.tolist() if value is not None}):
        yield value, np.flatnonzero(values == value)


def _scored(stage: _Stage, matchup: Matchup) -> int:
    """To how many events the candidate was shown: as a canary also those that it answered, told as the champion's."""
    shown = stage.scored
    if matchup.stage is Stage.PROBATION:
        return sum(count for (role, version), count in shown.items() if version == matchup.reference)
    own = sum(count for (role, version), count in shown.items() if version == matchup.candidate)
    return own + sum(count for (role, _), count in shown.items() if role == "champion")


def _between(stage: _Stage, matchup: Matchup) -> Comparison:
    """The comparison of the two, whichever of them was served."""
    candidate, reference = matchup.candidate, matchup.reference
    beside = stage.compared.get((candidate, reference), Comparison())
    return beside.merged(stage.compared.get((reference, candidate), Comparison()).turned())
