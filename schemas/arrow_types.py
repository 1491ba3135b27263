"""Contracts made from columns: the Avro type that holds an Arrow type.

| Arrow | Avro |
| --- | --- |
| bool | boolean |
| int8, int16, int32, uint8, uint16 | int |
| int64, uint32 | long |
| float16, float32 | float |
| float64 | double |
| string, large string, string view, dictionary of them | string |
| binary, large binary, binary view | bytes |
| date32 | int `date` |
| timestamp[s, ms], timestamp[us, ns] with a zone | long `timestamp-millis`, `timestamp-micros` |
| the same without a zone | long `local-timestamp-millis`, `local-timestamp-micros` |
| decimal128 (scale not negative) | bytes `decimal` |
| null (only nullable) | null |
| list, large list | array |

An instant is the same in any zone, so the zone itself is not kept. Refused, with the type's name: everything else, such
as uint64, whose upper half no Avro type holds.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError

_INT = (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16())
_LONG = (pa.int64(), pa.uint32())


def avro_type(arrow: pa.DataType, nullable: bool) -> Any:
    """The Avro type (JSON) that holds the values of an Arrow type; raises SchemaError if none does.

    >>> avro_type(pa.float64(), nullable=True)
    ['null', 'double']
    >>> avro_type(pa.timestamp("ns", "Europe/Berlin"), nullable=False)
    {'type': 'long', 'logicalType': 'timestamp-micros'}
    """
    if pa.types.is_null(arrow):
        return "null"
    inner = _primitive(arrow) or _complex(arrow)
    if inner is None:
        advice = "; cast it to int64, or to a decimal" if arrow == pa.uint64() else "; cast it to a type that Avro has"
        raise SchemaError(f"no Avro type holds the Arrow type {arrow}{advice}")
    return ["null", inner] if nullable else inner


def generate(name: str, namespace: str, fields: Iterable[pa.Field], doc: str) -> Contract:
    """A contract whose columns are `fields` (a pa.Schema will do); a field's metadata `doc` becomes its doc.

    Nullable fields get the default null, so that they can be added and taken away. The same input gives the same text.
    Raises SchemaError that names the field whose type no Avro type holds.
    """
    declared = []
    for field in fields:
        try:
            entry = {"name": field.name, "type": avro_type(field.type, field.nullable)}
        except SchemaError as fault:
            raise SchemaError(f"{namespace}.{name}, field {field.name!r}: {fault}") from None
        if field.nullable:
            entry["default"] = None
        if field.metadata and b"doc" in field.metadata:
            entry["doc"] = field.metadata[b"doc"].decode()
        declared.append(entry)
    return Contract.parse({"type": "record", "name": name, "namespace": namespace, "doc": doc, "fields": declared})


def _primitive(arrow: pa.DataType) -> Any:
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    if pa.types.is_boolean(arrow):
        return "boolean"
    if arrow in _INT:
        return "int"
    if arrow in _LONG:
        return "long"
    if arrow in (pa.float16(), pa.float32()):
        return "float"
    if pa.types.is_float64(arrow):
        return "double"
    if arrow in (pa.string(), pa.large_string(), pa.string_view()):
        return "string"
    if arrow in (pa.binary(), pa.large_binary(), pa.binary_view()):
        return "bytes"
    return None


def _complex(arrow: pa.DataType) -> Any:
    if pa.types.is_date32(arrow):
        return {"type": "int", "logicalType": "date"}
    if pa.types.is_timestamp(arrow):
        unit = "millis" if arrow.unit in ("s", "ms") else "micros"
        return {"type": "long", "logicalType": f"{'' if arrow.tz else 'local-'}timestamp-{unit}"}
    if pa.types.is_decimal128(arrow) and arrow.scale >= 0:
        return {"type": "bytes", "logicalType": "decimal", "precision": arrow.precision, "scale": arrow.scale}
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return {"type": "array", "items": avro_type(arrow.value_type, arrow.value_field.nullable)}
    return None
