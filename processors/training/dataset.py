"""A data set: rows to learn from, and a manifest that says where they came from and builds them again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.frames import to_polars
from tidemill.processors.training.columns import EVENT_ID, EVENT_TIME, LABEL, LABEL_TIME, WEIGHT
from tidemill.processors.training.decisions import settle
from tidemill.processors.training.ipc import plain_table, to_bytes
from tidemill.processors.training.preparation import Balance, balance, clean, merge
from tidemill.processors.training.selection import Selection, selection_of
from tidemill.schemas.errors import DeclarationError, ModelError

FORMAT = 1
ID_LENGTH = 16
"""How many hex digits of its manifest's SHA-256 name a data set."""


@dataclass(frozen=True)
class Recipe:
    """What is made of archived outcomes and features; the same recipe makes the same of the same rows."""

    columns: Mapping[str, str]
    """The features' columns in the data set, and what each is called in P.outcomes."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """More of them, and what each is called in P.features."""
    served: Sequence[str] | None = None
    """What was answered, by column of P.outcomes; by default all that is there."""
    classes: Sequence[Any] = ()
    """The labels that count; all if there are none here."""
    known_before: datetime | None = None
    """Take labels, and revisions of them, by `label_time` before this time only."""
    missing: Literal["keep", "drop"] = "keep"
    """Whether rows that lack a feature stay."""
    selection: Sequence[Selection] = ()
    """Which rows, one after the other."""
    balance: Balance | None = None
    """Whether, and how, classes are made to weigh the same."""
    seed: int = 0
    """For what is drawn by chance."""

    def describe(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        return {
            "columns": dict(self.columns),
            "extra": dict(self.extra),
            "served": None if self.served is None else list(self.served),
            "classes": list(self.classes),
            "known_before": None if self.known_before is None else self.known_before.astimezone(UTC).isoformat(),
            "missing": self.missing,
            "selection": [selection.describe() for selection in self.selection],
            "balance": self.balance,
            "seed": self.seed,
        }

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """What `describe` told of."""
        known = described["known_before"]
        return cls(
            **{
                **described,
                "known_before": None if known is None else datetime.fromisoformat(known),
                "selection": tuple(map(selection_of, described["selection"])),
            }
        )


@dataclass(frozen=True)
class Dataset:
    """Rows to learn from, in the order in which their labels became known, and where they came from.

    Columns: `event_id`, `event_time`, `label_time`, `known_time`, the features in the order of their names, `label`,
    `revision`, what was served (`model_version`, `value`, `probability_CLASS`), `source_partition`, `source_offset`,
    perhaps `sample_weight`.
    """

    rows: pa.Table
    manifest: Mapping[str, Any]
    decided: pa.Table | None = None
    """What several annotators decided on its events, as from `decisions`; None where nobody had to decide."""

    @cached_property
    def id(self) -> str:
        """Names the data set: the start of the SHA-256 of its manifest in canonical JSON."""
        return id_of(self.manifest)

    @property
    def sha256(self) -> str:
        """Of `to_bytes`."""
        return str(self.manifest["sha256"])

    @property
    def features(self) -> tuple[str, ...]:
        """The model's features by their own names."""
        return tuple(self.manifest["features"])

    @property
    def weights(self) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
        """What each row weighs; None if all weigh the same."""
        return self.rows[WEIGHT].to_numpy() if WEIGHT in self.rows.column_names else None

    def named(self, rows: pa.Table | None = None) -> pa.Table:
        """These rows (by default all) with features by their own names, as the model is to see them.

        A column of ours that has the name of a feature, such as `value`, is left out.
        """
        return named(self.rows if rows is None else rows, self.manifest["features"])

    def to_bytes(self) -> bytes:
        """The rows as an Arrow IPC stream: what `sha256` is of."""
        return to_bytes(self.rows)


def named(rows: pa.Table, features: Mapping[str, str]) -> pa.Table:
    """Rows whose features have their own names; `features` says which column each has.

    >>> rows = pa.table({"feature_value": [1.0], "value": ["yes"], "label": ["no"]})
    >>> named(rows, {"value": "feature_value"}).to_pylist()
    [{'value': 1.0, 'label': 'no'}]
    """
    if LABEL in features:
        raise DeclarationError(f"a feature called {LABEL!r} cannot stand beside the label: give it another name")
    renamed = {column: name for name, column in features.items() if column != name}
    taken = set(renamed.values())
    kept = rows.select([name for name in rows.column_names if name not in taken])
    return kept.rename_columns([renamed.get(name, name) for name in kept.column_names])


def build(
    outcomes: pa.Table,
    features: pa.Table | None,
    recipe: Recipe,
    origin: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    decided: pa.Table | None = None,
) -> Dataset:
    """Make a data set of the columns of P.outcomes and, for `recipe.extra`, P.features.

    `origin` goes into the manifest as it is: the pipeline, versions and offsets of tables, the code's hash. `names`
    gives the column of each of the model's features, by default those of the recipe under their own names. `decided`,
    as from `decisions`, has what several annotators decided: rows get that label, and those in dispute are left out.

    Raises:
        DeclarationError: there is no such column.
        ModelError: no row is left.

    """
    if recipe.known_before is not None:
        kind = outcomes.schema.field(LABEL_TIME).type
        outcomes = outcomes.filter(pc.less(outcomes[LABEL_TIME], pa.scalar(recipe.known_before, kind)))
    # By name: a manifest, whose keys are sorted, does not say in which order they were declared.
    columns, extra = dict(sorted(recipe.columns.items())), dict(sorted(recipe.extra.items()))
    chosen = [*columns, *extra]
    rows = merge(outcomes, columns, features, extra, recipe.served)
    merged, disputed = rows.num_rows, {}
    if decided is not None:
        decided = plain_table(decided.filter(pc.is_in(decided[EVENT_ID], rows[EVENT_ID])))
        rows, disputed = (settled := settle(rows, decided)).rows, settled.dropped
    cleaned = clean(rows, chosen, classes=recipe.classes, missing=recipe.missing)
    rows, dropped = cleaned.rows, dict(sorted({**disputed, **cleaned.dropped}.items()))
    for selection in recipe.selection:
        rows = selection.choose(rows)
    if recipe.balance is not None:
        rows = balance(rows, recipe.balance, seed=recipe.seed)
    if not rows.num_rows:
        raise ModelError(
            f"of {outcomes.num_rows:,} outcomes, {merged:,} events with a label, none is left to learn from;"
            f" taken out: {dropped or 'by the selection'}. Wait for labels, or choose more"
        )
    rows = plain_table(rows)
    data = to_bytes(rows)
    manifest = {
        "format": FORMAT,
        **origin,
        "features": dict(names) if names is not None else {name: name for name in chosen},
        "recipe": recipe.describe(),
        "events": merged,
        "dropped": dropped,
        **({} if decided is None else {"decisions": _decisions(decided)}),
        **summary(rows),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Dataset(rows, json.loads(canonical(manifest)), decided)


def _decisions(decided: pa.Table) -> dict[str, Any]:
    return {"events": decided.num_rows, "sha256": hashlib.sha256(to_bytes(decided)).hexdigest()}


def summary(rows: pa.Table) -> dict[str, Any]:
    """What a person asks first: how many rows, of when, and of which classes."""
    frame = to_polars(rows)
    label = frame[LABEL]
    counted: dict[str, Any] = {}
    if not label.dtype.is_float():
        counts = label.cast(pl.String).value_counts().sort(LABEL)
        counted = {"classes": dict(zip(counts[LABEL].to_list(), counts["count"].to_list(), strict=True))}
    return {
        "rows": len(frame),
        **{name: [_stamp(frame[name].min()), _stamp(frame[name].max())] for name in (EVENT_TIME, LABEL_TIME)},
        **counted,
    }


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """JSON without a choice: keys sorted, no spaces, UTF-8."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def id_of(manifest: Mapping[str, Any]) -> str:
    """The name of the data set that has this manifest."""
    return hashlib.sha256(canonical(manifest)).hexdigest()[:ID_LENGTH]


def _stamp(time: Any) -> str:
    return str(time.astimezone(UTC).isoformat())
