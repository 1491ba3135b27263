"""Profiles as rows of the contract `schemas/profile.avsc`, and back: the same bytes for the same profile."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.drift import exact_sum
from tidemill.processors.drift.buckets import Buckets
from tidemill.processors.drift.category_sketch import CategorySketch
from tidemill.processors.drift.number_sketch import NumberSketch
from tidemill.processors.drift.profile import OutcomeBlock, Profile, Scope
from tidemill.processors.drift.quality import ClassQuality, RegressionQuality
from tidemill.processors.drift.quality_kernel import SCORE_BINS
from tidemill.schemas.builtin import PROFILE

Record = Mapping[str, Any]
_SCOPE = ("pipeline", "window_start", "window_end", "slice", "model_version")


def to_table(profiles: Iterable[Profile]) -> pa.Table:
    """The profiles in the contract's columns, one row each: what a codec of the contract encodes."""
    return pa.Table.from_pylist([to_record(profile) for profile in profiles], schema=PROFILE.arrow)


def from_table(table: pa.Table) -> list[Profile]:
    """The profiles in the rows that a codec of the contract has decoded."""
    for name in ("window_start", "window_end"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
    return [from_record(record) for record in table.to_pylist()]


def to_record(profile: Profile) -> dict[str, Any]:
    """One profile as the contract has it; times are milliseconds."""
    quality = profile.quality
    return {
        "kind": profile.kind,
        **{name: getattr(profile.scope, name) for name in _SCOPE},
        "rows": profile.rows,
        "offsets": [
            {"partition": partition, "first": first, "last": last}
            for partition, (first, last) in sorted(profile.offsets.items())
        ],
        "numbers": [_number(name, sketch) for name, sketch in sorted(profile.numbers.items())],
        "categories": [_category(name, sketch) for name, sketch in sorted(profile.categories.items())],
        "classes": _classes(quality) if isinstance(quality, ClassQuality) else None,
        "regression": _regression(quality) if isinstance(quality, RegressionQuality) else None,
        "sequence": [vars(block) for block in profile.sequence],
    }


def from_record(record: Record) -> Profile:
    """Back from `to_record`."""
    quality: ClassQuality | RegressionQuality | None = None
    if record["classes"] is not None:
        quality = _classes_back(record["classes"])
    elif record["regression"] is not None:
        quality = _regression_back(record["regression"])
    return Profile(
        record["kind"],
        Scope(**{name: record[name] for name in _SCOPE}),
        record["rows"],
        {span["partition"]: (span["first"], span["last"]) for span in record["offsets"]},
        {entry["name"]: _number_back(entry) for entry in record["numbers"]},
        {entry["name"]: _category_back(entry) for entry in record["categories"]},
        quality,
        tuple(OutcomeBlock(_milliseconds(b["time"]), b["rows"], b["errors"], b["loss"]) for b in record["sequence"]),
    )


def _number(name: str, sketch: NumberSketch) -> dict[str, Any]:
    return {
        "name": name,
        "count": sketch.count,
        "missing": sketch.missing,
        "infinite": sketch.infinite,
        "minimum": sketch.minimum if sketch.count else None,
        "maximum": sketch.maximum if sketch.count else None,
        "sum": exact_sum.expansion(sketch.total),
        "zeros": sketch.zeros,
        "negative_keys": sketch.negative.keys,
        "negative_counts": sketch.negative.counts,
        "positive_keys": sketch.positive.keys,
        "positive_counts": sketch.positive.counts,
    }


def _number_back(entry: Record) -> NumberSketch:
    return NumberSketch(
        entry["count"],
        entry["missing"],
        entry["infinite"],
        np.inf if entry["minimum"] is None else entry["minimum"],
        -np.inf if entry["maximum"] is None else entry["maximum"],
        exact_sum.of_doubles(entry["sum"]),
        entry["zeros"],
        Buckets(_ints(entry["negative_keys"]), _ints(entry["negative_counts"])),
        Buckets(_ints(entry["positive_keys"]), _ints(entry["positive_counts"])),
    )


def _category(name: str, sketch: CategorySketch) -> dict[str, Any]:
    return {
        "name": name,
        "count": sketch.count,
        "missing": sketch.missing,
        "error": sketch.error,
        "categories": [{"category": category, "count": count} for category, count in sketch.counts.items()],
        "hashed": sketch.hashed,
    }


def _category_back(entry: Record) -> CategorySketch:
    counts = {item["category"]: item["count"] for item in entry["categories"]}
    return CategorySketch(entry["count"], entry["missing"], counts, entry["error"], tuple(entry["hashed"]))


def _classes(quality: ClassQuality) -> dict[str, Any]:
    used = np.flatnonzero(quality.histogram.any(axis=1))
    return {
        "rows": quality.rows,
        "log_loss": exact_sum.expansion(quality.log_loss_total),
        "brier": exact_sum.expansion(quality.brier_total),
        "score_sums": [exact_sum.expansion(total) for total in quality.score_totals],
        "bins": used,
        "misses": quality.histogram[used, 0],
        "hits": quality.histogram[used, 1],
        "confusion": quality.confusion.tolist(),
    }


def _classes_back(entry: Record) -> ClassQuality:
    histogram = np.zeros((SCORE_BINS, 2), np.int64)
    histogram[entry["bins"]] = np.column_stack([_ints(entry["misses"]), _ints(entry["hits"])])
    return ClassQuality(
        entry["rows"],
        exact_sum.of_doubles(entry["log_loss"]),
        exact_sum.of_doubles(entry["brier"]),
        tuple(exact_sum.of_doubles(parts) for parts in entry["score_sums"]),
        histogram,
        np.array(entry["confusion"], np.int64),
    )


def _regression(quality: RegressionQuality) -> dict[str, Any]:
    return {
        "absolute": exact_sum.expansion(quality.absolute_total),
        "squared": exact_sum.expansion(quality.squared_total),
        "errors": _number("error", quality.errors),
    }


def _regression_back(entry: Record) -> RegressionQuality:
    return RegressionQuality(
        exact_sum.of_doubles(entry["absolute"]),
        exact_sum.of_doubles(entry["squared"]),
        _number_back(entry["errors"]),
    )


def _ints(values: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(values, np.int64)


def _milliseconds(time: Any) -> int:
    """A time as decoded columns give it, or as it is given to them."""
    return time if isinstance(time, int) else round(time.timestamp() * 1_000)
