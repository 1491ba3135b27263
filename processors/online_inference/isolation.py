"""Finding the rows that a model fails on, when a call fails as a whole."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Attempt = Callable[[Rows], NDArray[np.float64]]


@dataclass(frozen=True)
class Failure:
    """A row for which the model raised or answered no finite number."""

    row: int
    reason: str
    message: str


def score_rows(
    attempt: Attempt,
    rows: Rows,
    missing: Callable[[Rows], NDArray[np.bool_] | None],
    scores: NDArray[np.float64],
    failures: list[Failure],
) -> None:
    """Fill in the scores of `rows`, and list those for which `attempt` raises even when they are alone.

    Rows that fail together are tried in halves. Where the model complains of missing values, they are first sorted by
    which of their values are `missing`: whether an estimator takes a missing value does not depend on the others, so
    what one row is refused for holds for all of its pattern, and a batch with many such rows costs few calls.
    """
    error = _try(attempt, rows, scores)
    if error is None:
        return
    patterns = missing(rows) if _about_missing(error) else None
    if patterns is None:
        _halve(attempt, rows, error, scores, failures)
        return
    distinct, which = np.unique(patterns, axis=0, return_inverse=True)
    for number, pattern in enumerate(distinct):
        group = rows[which.ravel() == number]
        refusal = _try(attempt, group[:1], scores) if pattern.any() else None
        if refusal is not None and _about_missing(refusal):
            failures += [_failure(row, refusal) for row in group]
        elif (error := _try(attempt, group, scores)) is not None:
            _halve(attempt, group, error, scores, failures)


def said(error: BaseException) -> str:
    """An exception in words; one of a foreign class may fail even at that."""
    try:
        return f"the model raised {type(error).__name__}: {str(error)[:300]}"
    except Exception:  # noqa: BLE001 - its own __str__ raised
        return f"the model raised {type(error).__name__}"


def _halve(
    attempt: Attempt, rows: Rows, error: BaseException, scores: NDArray[np.float64], failures: list[Failure]
) -> None:
    if len(rows) == 1:
        failures.append(_failure(rows[0], error))
        return
    middle = len(rows) // 2
    for half in (rows[:middle], rows[middle:]):
        inner = _try(attempt, half, scores)
        if inner is not None:
            _halve(attempt, half, inner, scores, failures)


def _try(attempt: Attempt, rows: Rows, scores: NDArray[np.float64]) -> BaseException | None:
    try:
        scores[rows] = attempt(rows)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a model is foreign code: even its SystemExit spoils its rows only
        return error
    return None


def _about_missing(error: BaseException) -> bool:
    return "NaN" in said(error)


def _failure(row: Any, error: BaseException) -> Failure:
    return Failure(int(row), "model_raised", said(error))
