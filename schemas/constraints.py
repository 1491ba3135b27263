"""What a field's values must satisfy beyond their type, with JSON Schema's words.

They stand beside the field in the schema, so that producers in every language see them:

    {"name": "distance", "type": "int", "constraints": {"minimum": 1, "maximum": 6000}}

| word | on | means |
| --- | --- | --- |
| minimum, maximum, exclusiveMinimum, exclusiveMaximum | int, long, float, double, decimal | the value's range |
| enum | string, enum, int, long, boolean | the values that there are |
| pattern | string | a regular expression that is found in the value (`^…$` for all of it) |
| minLength, maxLength | string | its length in Unicode characters |
| required | a nullable field | null is refused |

Null satisfies every word but `required`. Source: JSON Schema 2020-12, Validation, section 6.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tidemill.schemas.avsc import Node
from tidemill.schemas.columns import logical_type
from tidemill.schemas.errors import SchemaError, nearest

Number = int | float
Value = str | int | bool


@dataclass(frozen=True)
class Constraints:
    """The constraints of one field; None (or False) where there is none."""

    minimum: Number | None = None
    maximum: Number | None = None
    exclusive_minimum: Number | None = None
    exclusive_maximum: Number | None = None
    enum: tuple[Value, ...] | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    required: bool = False

    def __bool__(self) -> bool:
        """Whether there is any constraint."""
        return self != Constraints()


_WORDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "exclusiveMaximum": "exclusive_maximum",
    "enum": "enum",
    "pattern": "pattern",
    "minLength": "min_length",
    "maxLength": "max_length",
    "required": "required",
}


def parse(raw: object, node: Node) -> Constraints:
    """Read the `constraints` property of a field of the type `node` (without null).

    Raises SchemaError for an unknown word, a word that does not go with the type, or a value that does not go with the
    word.
    """
    if not isinstance(raw, Mapping):
        raise SchemaError(f'constraints: expected an object such as {{"minimum": 0}}; got {raw!r}')
    found: dict[str, Any] = {}
    for word, value in raw.items():
        if not isinstance(word, str) or word not in _WORDS:
            raise SchemaError(f"constraints: unknown word {word!r}{nearest(str(word), _WORDS)}")
        found[_WORDS[word]] = _CHECKS[word](word, value, node)
    constraints = Constraints(**found)
    _satisfiable(constraints)
    return constraints


def tightened(was: Constraints, now: Constraints) -> list[str]:
    """What values satisfied `was` and may not satisfy `now`, one sentence per word.

    >>> tightened(Constraints(maximum=10), Constraints(maximum=9, required=True))
    ['the upper bound was 10, and is now 9', 'null is refused now']
    """
    changes = []
    if _low(now) > _low(was):
        changes.append(f"the lower bound was {_spoken(*_low(was))}, and is now {_spoken(*_low(now))}")
    if _high(now) < _high(was):
        (before, had), (after, has) = _high(was), _high(now)
        changes.append(f"the upper bound was {_spoken(before, not had)}, and is now {_spoken(after, not has)}")
    if now.enum is not None and (was.enum is None or not set(was.enum) <= set(now.enum)):
        gone = sorted(map(repr, set(was.enum or ()) - set(now.enum)))
        changes.append(f"enum no longer has {', '.join(gone)}" if gone else "enum is new")
    if now.pattern is not None and now.pattern != was.pattern:
        changes.append(f"pattern was {was.pattern!r}, and is now {now.pattern!r}")
    if (now.min_length or 0) > (was.min_length or 0):
        changes.append(f"minLength was {was.min_length}, and is now {now.min_length}")
    if now.max_length is not None and (was.max_length is None or now.max_length < was.max_length):
        changes.append(f"maxLength was {was.max_length}, and is now {now.max_length}")
    if now.required and not was.required:
        changes.append("null is refused now")
    return changes


def _low(constraints: Constraints) -> tuple[Number, bool]:
    """The lower bound, and whether it is excluded itself; the higher of two."""
    bounds = [(constraints.minimum, False), (constraints.exclusive_minimum, True)]
    return max(((bound, excluded) for bound, excluded in bounds if bound is not None), default=(-math.inf, False))


def _high(constraints: Constraints) -> tuple[Number, bool]:
    """The upper bound, and whether it is included itself; the lower of two."""
    bounds = [(constraints.maximum, True), (constraints.exclusive_maximum, False)]
    return min(((bound, included) for bound, included in bounds if bound is not None), default=(math.inf, True))


def _spoken(bound: Number, excluded: bool) -> str:
    return "none" if math.isinf(bound) else f"{bound}, excluded" if excluded else str(bound)


def _kind(node: Node) -> str:
    logical = logical_type(node)
    return node.type if logical in (None, "uuid") else logical


def _needs(word: str, node: Node, kinds: tuple[str, ...]) -> None:
    if _kind(node) not in kinds:
        raise SchemaError(f"constraints: {word} goes with {', '.join(kinds)}; the field is {_kind(node)}")


def _bound(word: str, value: object, node: Node) -> Number:
    _needs(word, node, ("int", "long", "float", "double", "decimal"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SchemaError(f"constraints: {word} is a number; got {value!r}")
    return value


def _enum(word: str, value: object, node: Node) -> tuple[Value, ...]:
    _needs(word, node, ("string", "enum", "int", "long", "boolean"))
    if not isinstance(value, list) or not value:
        raise SchemaError(f"constraints: {word} is a list of at least one value; got {value!r}")
    wanted = {"boolean": bool, "int": int, "long": int}.get(node.type, str)
    for item in value:
        if type(item) is not wanted:
            raise SchemaError(f"constraints: {word} of a {node.type} lists {wanted.__name__} values; got {item!r}")
        if node.type == "enum" and item not in node.symbols:
            raise SchemaError(f"constraints: {word} lists {item!r}, no symbol{nearest(str(item), node.symbols)}")
    return tuple(value)


def _pattern(word: str, value: object, node: Node) -> str:
    _needs(word, node, ("string",))
    if not isinstance(value, str):
        raise SchemaError(f"constraints: {word} is a regular expression; got {value!r}")
    try:
        # The engine that will search with it: it knows neither look-around nor back references.
        pl.Series([""]).str.contains(value, strict=True)
    except pl.exceptions.ComputeError as fault:
        raise SchemaError(f"constraints: {word} {value!r} is not a regular expression: {fault}") from None
    return value


def _length(word: str, value: object, node: Node) -> int:
    _needs(word, node, ("string",))
    if type(value) is not int or value < 0:
        raise SchemaError(f"constraints: {word} is a number of characters; got {value!r}")
    return value


def _required(word: str, value: object, _node: Node) -> bool:
    if not isinstance(value, bool):
        raise SchemaError(f"constraints: {word} is true or false; got {value!r}")
    return value


_CHECKS: dict[str, Callable[[str, object, Node], Any]] = {
    "minimum": _bound,
    "maximum": _bound,
    "exclusiveMinimum": _bound,
    "exclusiveMaximum": _bound,
    "enum": _enum,
    "pattern": _pattern,
    "minLength": _length,
    "maxLength": _length,
    "required": _required,
}


def _satisfiable(constraints: Constraints) -> None:
    lows = [v for v in (constraints.minimum, constraints.exclusive_minimum) if v is not None]
    highs = [v for v in (constraints.maximum, constraints.exclusive_maximum) if v is not None]
    if lows and highs and max(lows) > min(highs):
        raise SchemaError(f"constraints: no value is from {max(lows)} to {min(highs)}")
    shortest, longest = constraints.min_length, constraints.max_length
    if shortest is not None and longest is not None and shortest > longest:
        raise SchemaError(f"constraints: no string has from {shortest} to {longest} characters")
