"""A profile: what the events of a window looked like, column by column, in constant memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.drift.category_sketch import CategorySketch
from tidemill.processors.drift.number_sketch import NumberSketch
from tidemill.processors.drift.quality import ClassQuality, Quality, RegressionQuality, quality_of
from tidemill.schemas.errors import DeclarationError

if TYPE_CHECKING:
    from tidemill.processors.online_inference.target import Target

CONFIDENCE = "confidence"
Kind = Literal["features", "predictions", "outcomes", "rejections"]
Offsets = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, order=True)
class Scope:
    """Which events: their window [start, end) of event time in milliseconds, and slice ("" or such as "origin=JFK")."""

    pipeline: str
    window_start: int
    window_end: int
    slice: str = ""
    model_version: str = ""


@dataclass(frozen=True)
class OutcomeBlock:
    """Outcomes one after the other: the last one's label time (milliseconds), and what they add up to."""

    time: int
    rows: int
    errors: int
    loss: float


@dataclass(frozen=True, eq=False)
class Profile:
    """Sketches of the events of a scope. `offsets` are the least and the greatest by partition of the events topic."""

    kind: Kind
    scope: Scope
    rows: int
    offsets: Offsets
    numbers: Mapping[str, NumberSketch]
    categories: Mapping[str, CategorySketch]
    quality: Quality | None = None
    sequence: tuple[OutcomeBlock, ...] = field(default=())

    def merge(self, other: "Profile") -> "Profile":
        """Of both profiles' events, in a window that spans both; the sequence, which does not add up, is left out.

        Associative and commutative as the sketches are. A column that only one of them has is kept as it is.

        Raises:
            ValueError: they are of different pipelines, kinds or slices.

        """
        mine, theirs = self.scope, other.scope
        if (self.kind, mine.pipeline, mine.slice) != (other.kind, theirs.pipeline, theirs.slice):
            raise ValueError(
                f"expected profiles of one kind, pipeline and slice; got {self.kind}, {mine} and {other.kind}, {theirs}"
            )
        versions = {*mine.model_version.split(","), *theirs.model_version.split(",")} - {""}
        scope = replace(
            mine,
            window_start=min(mine.window_start, theirs.window_start),
            window_end=max(mine.window_end, theirs.window_end),
            model_version=",".join(sorted(versions)),
        )
        return Profile(
            self.kind,
            scope,
            self.rows + other.rows,
            _united(self.offsets, other.offsets),
            {
                name: self.numbers.get(name, _NO_NUMBERS).merge(other.numbers.get(name, _NO_NUMBERS))
                for name in sorted({*self.numbers, *other.numbers})
            },
            {
                name: self.categories.get(name, _NO_CATEGORIES).merge(other.categories.get(name, _NO_CATEGORIES))
                for name in sorted({*self.categories, *other.categories})
            },
            _merged(self.quality, other.quality),
        )


_NO_NUMBERS, _NO_CATEGORIES = NumberSketch.empty(), CategorySketch.empty()


def merge_all(profiles: Iterable[Profile]) -> Profile:
    """All of them together; there must be one at least."""
    first, *others = profiles
    merged = replace(first, sequence=()) if others else first
    for other in others:
        merged = merged.merge(other)
    return merged


def profile_of(
    table: pa.Table,
    kind: Kind,
    columns: Sequence[str],
    scope: Scope,
    *,
    as_categories: Collection[str] = (),
    quality: Quality | None = None,
    sequence: tuple[OutcomeBlock, ...] = (),
) -> Profile:
    """The profile of a table's rows: numbers are sketched as numbers, text, booleans and `as_categories` as categories.

    Offsets are taken from the columns `source_partition` and `source_offset`, where the table has them.

    Raises:
        DeclarationError: a column is neither a number, nor text, nor boolean.

    """
    numbers, categories = {}, {}
    for name in columns:
        if name in as_categories or _categorical(table.schema.field(name)):
            categories[name] = CategorySketch.of(table[name])
        else:
            numbers[name] = NumberSketch.of(table[name])
    return Profile(kind, scope, table.num_rows, offsets_of(table), numbers, categories, quality, sequence)


def profile_of_predictions(table: pa.Table, target: "Target", scope: Scope) -> Profile:
    """The profile of rows that have the prediction fields of P.predictions.

    With more than two classes there is a column `confidence` as well, the greatest probability.
    """
    classes, columns = ("value",) if target.classes else (), ["value", *target.columns()]
    if len(target.classes) > 2:
        table = table.append_column(CONFIDENCE, pc.max_element_wise(*(table[name] for name in target.columns())))
        columns.append(CONFIDENCE)
    return profile_of(table, "predictions", columns, scope, as_categories=classes)


def profile_of_outcomes(
    table: pa.Table, target: "Target", scope: Scope, sequence: tuple[OutcomeBlock, ...] = ()
) -> Profile:
    """The profile of rows that have the prediction fields and a column `label`: the labels, and the quality."""
    classes = ("label",) if target.classes else ()
    quality = quality_of(target, table, table["label"])
    return profile_of(table, "outcomes", ["label"], scope, as_categories=classes, quality=quality, sequence=sequence)


def offsets_of(table: pa.Table) -> dict[int, tuple[int, int]]:
    """The least and the greatest source offset by source partition; none where the table has no such columns."""
    if not table.num_rows or "source_partition" not in table.column_names:
        return {}
    partitions = table["source_partition"].to_numpy()
    offsets = table["source_offset"].to_numpy()
    known, places = np.unique(partitions, return_inverse=True)
    first = np.full(len(known), np.iinfo(np.int64).max)
    last = np.full(len(known), np.iinfo(np.int64).min)
    np.minimum.at(first, places, offsets)
    np.maximum.at(last, places, offsets)
    return {int(p): (int(a), int(b)) for p, a, b in zip(known, first, last, strict=True)}


def can_be_profiled(kind: pa.DataType) -> bool:
    """Whether a column of this type has a sketch."""
    return _is_text(kind) or bool(pa.types.is_boolean(kind) or _is_number(kind))


def _categorical(column: pa.Field) -> bool:
    if not can_be_profiled(column.type):
        raise DeclarationError(
            f"column {column.name!r} ({column.type}) has no profile: expected a number, a boolean or text; leave it out"
            ", or make a feature of it that is one"
        )
    return not _is_number(column.type)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _united(left: Offsets, right: Offsets) -> dict[int, tuple[int, int]]:
    united = dict(left)
    for partition, (first, last) in right.items():
        known = united.get(partition, (first, last))
        united[partition] = (min(known[0], first), max(known[1], last))
    return {partition: united[partition] for partition in sorted(united)}


def _merged(left: Quality | None, right: Quality | None) -> Quality | None:
    match left, right:
        case ClassQuality(), ClassQuality():
            return left.merge(right)
        case RegressionQuality(), RegressionQuality():
            return left.merge(right)
        case None, _:
            return right
        case _, None:
            return left
    raise ValueError(f"expected two qualities of one kind, got {type(left).__name__} and {type(right).__name__}")
