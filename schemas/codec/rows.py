"""Python values to the columns of a contract, for people and programs that send events one by one."""

from collections.abc import Callable, Mapping, Sequence
from reprlib import repr as brief
from typing import Any

import pyarrow as pa

from tidemill.schemas.avsc import Node
from tidemill.schemas.codec.resolution import stored_default
from tidemill.schemas.codec.values import Convert, Misfit, scalar
from tidemill.schemas.columns import split_null
from tidemill.schemas.contract import Contract, Field
from tidemill.schemas.errors import EncodeError, nearest


def to_columns(contract: Contract, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row per mapping; raises EncodeError that names the row and the field, what was expected and what came."""
    names = [field.name for field in contract.fields]
    for row, values in enumerate(rows):
        for name in values:
            if name not in names:
                raise EncodeError(f"{contract.name}, row {row}: there is no field {name!r}{nearest(str(name), names)}")
    arrays = [_column(contract, field, rows) for field in contract.fields]
    return pa.Table.from_arrays(arrays, schema=contract.arrow)


def _column(contract: Contract, field: Field, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    convert, absent = _converter(field.node), _absent(field.node, field)
    values = []
    for row, given in enumerate(rows):
        try:
            values.append(convert(given[field.name]) if field.name in given else absent())
        except Misfit as fault:
            place = f"{contract.name}, row {row}, field {field.name!r}"
            value = given.get(field.name)
            got = f"got {brief(value)} ({type(value).__name__})" if field.name in given else "it is missing"
            if field.private and field.name in given:
                # What is wrong within a value may quote a part of it.
                raise EncodeError(f"{place}: expected {field.arrow}; got another, which is private") from None
            raise EncodeError(f"{place}: expected {fault}; {got}") from None
    return pa.array(values, field.arrow)


def _converter(node: Node) -> Convert:
    inner, nullable = split_null(node)
    match inner.type:
        case "array":
            convert = _array(_converter(inner.items))
        case "map":
            convert = _map(_converter(inner.values))
        case "record" | "error":
            convert = _record(inner)
        case _:
            convert = scalar(inner)
    return (lambda value: None if value is None else convert(value)) if nullable else convert


def _array(convert: Convert) -> Convert:
    def check(value: Any) -> list[Any]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise Misfit("a list")
        return [_within(f"item {place}", convert, item) for place, item in enumerate(value)]

    return check


def _map(convert: Convert) -> Convert:
    def check(value: Any) -> list[tuple[str, Any]]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise Misfit("a mapping from text")
        return [(key, _within(f"key {key!r}", convert, item)) for key, item in value.items()]

    return check


def _record(node: Node) -> Convert:
    converters = {field.name: _converter(field.type) for field in node.fields}
    absent = {field.name: _absent(field.type, field) for field in node.fields}

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Misfit(f"a mapping with the fields of {node.fullname}")
        for name in value:
            if name not in converters:
                raise Misfit(f"no {name!r} in it{nearest(str(name), converters)}")
        return {
            name: _within(f"field {name!r}", convert, value[name]) if name in value else absent[name]()
            for name, convert in converters.items()
        }

    return check


def _within(place: str, convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except Misfit as fault:
        raise Misfit(f"in {place}: {fault}") from None


def _absent(node: Node, field: Any) -> Callable[[], Any]:
    """What stands for a field that is left out; `field` says whether there is a default."""
    if field.has_default:
        default = stored_default(node, field.default)
        return lambda: default
    if split_null(node)[1]:
        return lambda: None
    name = field.name

    def refuse() -> Any:
        raise Misfit(f"a value of {name!r}, which has no default")

    return refuse
