"""Features computed from the event's own fields and from features declared earlier."""

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from tidemill.schemas.errors import DeclarationError


@dataclass(frozen=True, eq=False)
class Expression:
    """Named polars expressions; made by `expression`."""

    expressions: tuple[tuple[str, pl.Expr], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features that it makes, in order."""
        return tuple(name for name, _ in self.expressions)

    def describe(self) -> dict[str, Any]:
        """All that decides its features, with the expressions in polars' own JSON."""
        return {"kind": "expression", "expressions": [[name, _tree(e)] for name, e in self.expressions]}


@dataclass(frozen=True)
class Fields:
    """Event fields that are features as they are; made by `fields`."""

    names: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """All that decides its features."""
        return {"kind": "fields", "names": list(self.names)}


def expression(**expressions: pl.Expr) -> Expression:
    """Declare one feature per polars expression over event fields and earlier features.

    A feature must depend on nothing but its own row, or it would change with how the log is cut into batches: mean(),
    shift(), rank(), over() and the like are refused when the pipeline is put together. So are Python functions, which
    run once per event and cannot be fingerprinted. An event for which an expression raises is rejected.

    >>> expression(hour=pl.col("departure").dt.hour()).names
    ('hour',)

    Raises DeclarationError.
    """
    if not expressions:
        raise DeclarationError("expression() has no features; add some, such as hour=pl.col('departure').dt.hour()")
    for name, made in expressions.items():
        if not isinstance(made, pl.Expr):
            raise DeclarationError(
                f"expression(): {name} must be a polars expression, got {made!r}; wrap it in pl.lit()"
            )
        if made.meta.has_multiple_outputs():
            raise DeclarationError(f"expression(): {name} selects columns by a pattern; name each with pl.col('...')")
        operations = _operations(_tree(made, name))
        if "AnonymousFunction" in operations:
            raise DeclarationError(
                f"expression(): {name} calls a Python function; use polars' own operations, which run on whole columns "
                f"and can be fingerprinted"
            )
        if "Categorical" in operations:
            raise DeclarationError(
                f"expression(): {name} uses Categorical, whose codes depend on which values came first; "
                f"use strings or pl.Enum"
            )
    return Expression(tuple(expressions.items()))


def fields(*names: str) -> Fields:
    """Declare event fields as features, unchanged.

    >>> fields("distance", "carrier").names
    ('distance', 'carrier')
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise DeclarationError(f"fields() expected the names of event fields, got {names!r}")
    return Fields(names)


def _tree(made: pl.Expr, name: str = "") -> Any:
    try:
        return json.loads(made.meta.serialize(format="json"))
    except pl.exceptions.ComputeError as error:
        raise DeclarationError(
            f"expression(): {name} cannot be written down, so it has no fingerprint: {error}"
        ) from error


def _operations(tree: Any) -> set[str]:
    """The operations that a serialised expression is made of: they are its objects' keys."""
    if isinstance(tree, dict):
        return set(tree).union(*map(_operations, tree.values()))
    return set().union(*map(_operations, tree)) if isinstance(tree, list) else set()
