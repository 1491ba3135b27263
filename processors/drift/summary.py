"""A profile in a few figures, for people and for JSON."""

from typing import Any

from tidemill.processors.drift.category_sketch import CategorySketch
from tidemill.processors.drift.number_sketch import NumberSketch
from tidemill.processors.drift.profile import Profile

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP = 10


def summary(profile: Profile) -> dict[str, Any]:
    """Rows, and what `number_summary`, `category_summary` and the quality's metrics say, by column."""
    made: dict[str, Any] = {
        "kind": profile.kind,
        "slice": profile.scope.slice,
        "window": [profile.scope.window_start, profile.scope.window_end],
        "rows": profile.rows,
        "columns": {
            **{name: number_summary(sketch) for name, sketch in profile.numbers.items()},
            **{name: category_summary(sketch) for name, sketch in profile.categories.items()},
        },
    }
    return made if profile.quality is None else {**made, "metrics": profile.quality.metrics()}


def number_summary(sketch: NumberSketch) -> dict[str, Any]:
    """Counts, range, mean and quantiles; None where there is no number.

    >>> import numpy as np
    >>> made = number_summary(NumberSketch.of(np.array([5.0, np.nan])))
    >>> made["count"], made["missing"], made["min"], made["p50"], made["mean"]
    (1, 1, 5.0, 5.0, 5.0)
    """
    some = sketch.count > 0
    return {
        "count": sketch.count,
        "missing": sketch.missing,
        "infinite": sketch.infinite,
        "min": sketch.minimum if some else None,
        **{f"p{round(q * 100):02}": sketch.quantile(q) if some else None for q in QUANTILES},
        "max": sketch.maximum if some else None,
        "mean": sketch.mean if some else None,
    }


def category_summary(sketch: CategorySketch) -> dict[str, Any]:
    """Counts, and the most frequent categories with theirs; `error` says by how much those may be too small."""
    return {"count": sketch.count, "missing": sketch.missing, "error": sketch.error, "top": dict(sketch.top(TOP))}
