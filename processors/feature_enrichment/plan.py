"""What has to be computed, in which order, for the declared features."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from tidemill.processors.feature_enrichment.aggregates import Kind
from tidemill.processors.feature_enrichment.columns import feature_type, plain_type, polars_type
from tidemill.processors.feature_enrichment.expression import Expression, Fields
from tidemill.processors.feature_enrichment.isolation import FAILURES, Compute
from tidemill.processors.feature_enrichment.lookup import Lookup
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable, key_kind
from tidemill.processors.feature_enrichment.rowwise import require_rowwise
from tidemill.processors.feature_enrichment.window import Window
from tidemill.schemas.errors import DeclarationError, nearest

Feature = Window | Expression | Fields | Lookup
"""What a pipeline lists as its features."""

SYSTEM_COLUMNS = (
    pa.field("event_id", pa.string(), nullable=False),
    pa.field("event_key", pa.string()),
    pa.field("event_time", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("source_partition", pa.int32(), nullable=False),
    pa.field("source_offset", pa.int64(), nullable=False),
    pa.field("pipeline_version", pa.string(), nullable=False),
)
_AVRO_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Step:
    """Features that are computed together: adds them to the columns that are there before it, each row by itself."""

    names: tuple[str, ...]
    compute: Compute
    reads: tuple[str, ...] = ()
    expressions: tuple[pl.Expr, ...] = ()
    """What `compute` evaluates, if that is all it does."""
    parts: tuple["Step", ...] = ()
    """The steps that this one does at once; where it raises, they tell which of them does, and for which rows."""

    @staticmethod
    def of(names: Sequence[str], reads: Sequence[str], *expressions: pl.Expr) -> "Step":
        """A step that evaluates expressions."""
        return Step(tuple(names), lambda frame: frame.with_columns(expressions), tuple(reads), expressions)


class Plan:
    """The declared features, checked, typed and put in order.

    What does not depend on a window runs `before` the `windows`, in declared order, and may be aggregated by them; the
    rest runs `after` them. Raises DeclarationError.
    """

    def __init__(
        self, features: Sequence[Feature], event: pa.Schema, key_field: str, tables: Mapping[str, ReferenceTable]
    ) -> None:
        self.before: list[Step] = []
        self.windows: list[Window] = []
        self.after: list[Step] = []
        self.features: list[pa.Field] = []
        self.hops: list[str] = []
        """The keys of windows other than the events' own, each once: their rows must be brought together first."""
        self.versioned: list[ReferenceTable] = []
        """The topic tables in use, whose versions go with the features."""
        self.joined_after: list[ReferenceTable] = []
        """Those of them that are looked up by what windows have made."""
        self.reads_after: set[str] = set()
        """The columns that the steps `after` the windows read."""
        self.event_columns: set[str] = set()
        """The event's fields that steps and windows read."""
        self._event = event
        self._key_field = key_field
        self._tables = tables
        self._declared = {name for feature in features for name in getattr(feature, "names", ())}
        self._scope = {field.name: pa.field(field.name, plain_type(field.type), field.nullable) for field in event}
        self._mixed: list[str] = []
        self._windowed: set[str] = set()
        """The features that are made by windows or depend on such."""
        for feature in features:
            match feature:
                case Window():
                    self._add_window(feature)
                case Expression():
                    for name, expression in feature.expressions:
                        self._add_expression(name, expression)
                case Fields():
                    self._add_fields(feature)
                case Lookup():
                    self._add_lookup(feature)
                case _:
                    raise DeclarationError(
                        f"expected features made by fields(), expression(), lookup() and window(); got {feature!r}"
                    )
        self.before, self.after = together(self.before), together(self.after)
        for table in self.versioned:
            self._refuse_taken(version_column(table).name)
        if self.hops and self._mixed:
            raise DeclarationError(
                f"{self._mixed[0]}: the table is looked up both by event fields and by what windows make; with windows "
                f"on another key ({', '.join(self.hops)}) these happen at different moments, and an event's features "
                f"have one version of each table: look up all of it before the windows, or declare the table twice"
            )

    def windows_on(self, key: str) -> list[Window]:
        """The windows that are kept by this field, in declared order."""
        return [window for window in self.windows if window.key == key]

    def _add_expression(self, name: str, expression: pl.Expr) -> None:
        roots = list(dict.fromkeys(expression.meta.root_names()))
        for root in roots:
            self._require(root, f"feature {name!r}")
        # A frame needs some column to have rows, even where the expression reads none.
        schema = pa.schema([self._scope[column] for column in roots or list(self._scope)[:1]])
        types = {column: polars_type(field.type) for column, field in self._scope.items()}
        try:
            kind = pl.LazyFrame(schema=types).select(expression.alias(name)).collect_schema()[name]
        except FAILURES as error:
            raise DeclarationError(
                f"feature {name!r} cannot be computed: {str(error).partition(chr(10))[0]}"
            ) from error
        field = pa.field(name, feature_type(name, kind))
        require_rowwise(name, expression, schema)
        exact = expression.cast(polars_type(field.type)).alias(name)
        self._add_step(Step.of([name], roots, exact), roots, [field])

    def _add_lookup(self, lookup: Lookup) -> None:
        what = f"lookup({lookup.table!r})"
        table = self._tables.get(lookup.table)
        if table is None:
            raise DeclarationError(f"{what}: there is no such table{nearest(lookup.table, self._tables)}")
        if len(lookup.on) != len(table.key):
            raise DeclarationError(
                f"{what}: expected one field for each column of the table's key ({', '.join(table.key)}); "
                f"got {', '.join(lookup.on)}"
            )
        for name, column in zip(lookup.on, table.key, strict=True):
            self._require(name, what)
            ours, theirs = self._scope[name].type, table.schema.field(column).type
            if key_kind(ours) != key_kind(theirs):
                raise DeclarationError(
                    f"{what}: {name!r} is a {key_kind(ours) or ours} and the table's key {column!r} a "
                    f"{key_kind(theirs)}, so they are never equal: convert one, as with expression() before the lookup"
                )
        values = [column for column in table.schema.names if column not in table.key]
        fields, wanted = [], {}
        for name, column in zip(lookup.names, lookup.columns, strict=True):
            if column not in values:
                raise DeclarationError(f"{what}: the table has no column {column!r}{nearest(column, values)}")
            field = pa.field(name, feature_type(name, polars_type(table.schema.field(column).type)))
            fields.append(field)
            wanted[name] = column, polars_type(field.type)
        if table.version is not None:
            self._add_version(table, late=not self._windowed.isdisjoint(lookup.on), what=what)
        step = Step(lookup.names, lambda frame: frame.hstack(table.join(map(frame.get_column, lookup.on), wanted)))
        self._add_step(step, lookup.on, fields)

    def _add_version(self, table: ReferenceTable, *, late: bool, what: str) -> None:
        before = [known for known in self.versioned if known not in self.joined_after]
        if (late and table in before) or (not late and table in self.joined_after):
            self._mixed.append(what)
        if table not in self.versioned:
            self.versioned.append(table)
            if late:
                self.joined_after.append(table)

    def _add_window(self, window: Window) -> None:
        what = f"window({window.key!r})"
        if window.key not in self._event.names:
            raise DeclarationError(
                f"{what}: the event has no field {window.key!r}{nearest(window.key, self._event.names)}"
            )
        if key_kind(plain_type(self._event.field(window.key).type)) is None:
            raise DeclarationError(
                f"{what}: {window.key!r} is {self._event.field(window.key).type}; expected a string, a whole number, a "
                f"boolean, a date or a timestamp to keep a window by"
            )
        if window.state_name in [other.state_name for other in self.windows]:
            raise DeclarationError(
                f"{what}: another window has the same key, span and aggregates; make them one window()"
            )
        for name, aggregate in window.aggregates:
            if aggregate.field is None:
                continue
            self._require(aggregate.field, f"{what}: {name}")
            if aggregate.field in self._windowed:
                raise DeclarationError(
                    f"{what}: {name} aggregates {aggregate.field!r}, which comes from a window itself; expected an "
                    f"event field, or a feature that does not depend on windows"
                )
            kind = self._scope[aggregate.field].type
            suits = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            expected = "integers, floating-point numbers or booleans"
            if aggregate.kind is Kind.DISTINCT:
                suits = suits or key_kind(kind) is not None
                expected = "numbers, booleans, strings, dates, or timestamps in UTC or without a time zone"
            if aggregate.kind is not Kind.COUNT and not suits:
                raise DeclarationError(
                    f"{what}: {name} is the {aggregate.kind.value} of {aggregate.field!r}, which is {kind}; expected "
                    f"{expected}"
                )
        self.windows.append(window)
        if window.key != self._key_field and window.key not in self.hops:
            self.hops.append(window.key)
        self._windowed.update(window.names)
        self._read(window.fields)
        for name, aggregate in window.aggregates:
            kind = pa.int64() if aggregate.counts else pa.float64()
            self._declare(pa.field(name, kind, nullable=not aggregate.counts))

    def _add_fields(self, fields: Fields) -> None:
        for name in fields.names:
            if name not in self._event.names:
                raise DeclarationError(f"fields(): the event has no field {name!r}{nearest(name, self._event.names)}")
            self._refuse_taken(name)
            self.features.append(self._scope[name].with_nullable(True))

    def _add_step(self, step: Step, reads: Sequence[str], fields: list[pa.Field]) -> None:
        self._read(reads)
        if self._windowed.isdisjoint(reads):
            self.before.append(step)
        else:
            self.after.append(step)
            self.reads_after.update(reads)
            self._windowed.update(step.names)
        for field in fields:
            self._declare(field)

    def _declare(self, field: pa.Field) -> None:
        if not _AVRO_NAME.fullmatch(field.name):
            raise DeclarationError(
                f"feature {field.name!r}: expected a name of letters, digits and _ that does not start with a digit"
            )
        if field.name in self._event.names:
            raise DeclarationError(
                f"feature {field.name!r} has the name of an event field: choose another name, or pass the field on "
                f"with fields({field.name!r})"
            )
        self._refuse_taken(field.name)
        self.features.append(field)
        self._scope[field.name] = field

    def _refuse_taken(self, name: str) -> None:
        if name in [field.name for field in (*SYSTEM_COLUMNS, *self.features)]:
            raise DeclarationError(f"two columns of the features would have the name {name!r}: rename one")

    def _require(self, name: str, what: str) -> None:
        if name in self._scope:
            return
        if name in self._declared:
            raise DeclarationError(f"{what} refers to {name!r}, which is declared after it: put that before it")
        raise DeclarationError(
            f"{what} refers to {name!r}, which is neither an event field nor a feature{nearest(name, self._scope)}"
        )

    def _read(self, names: Sequence[str]) -> None:
        self.event_columns.update(name for name in names if name in self._event.names)


def together(steps: Sequence[Step]) -> list[Step]:
    """The steps in fewer: neighbours that only evaluate expressions, none over what another of them makes, are one."""
    made: list[Step] = []
    for step in steps:
        last = made[-1] if made else None
        if last is None or not (last.expressions and step.expressions) or {*last.names} & {*step.reads}:
            made.append(step)
            continue
        whole = Step.of(last.names + step.names, last.reads + step.reads, *last.expressions, *step.expressions)
        made[-1] = replace(whole, parts=(*(last.parts or (last,)), step))
    return made


def version_column(table: ReferenceTable) -> pa.Field:
    """The column that says up to which offset of its topic a table was applied when an event was joined."""
    return pa.field(f"{table.name}_version", pa.int64(), nullable=False)
