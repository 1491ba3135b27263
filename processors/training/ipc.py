"""A table as bytes that are the same whenever its values are: an Arrow stream of one batch, uncompressed.

Arrow leaves open what stands below a null, whether a column without nulls has a bitmap, and where buffers begin; a
table that was sliced, joined or read from several files differs in these. Here each is decided.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_OPTIONS = {"compression": None, "use_threads": False, "metadata_version": pa.MetadataVersion.V5}
_PLAIN = {
    "large_string": pa.string(),
    "string_view": pa.string(),
    "large_binary": pa.binary(),
    "binary_view": pa.binary(),
}


def to_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream.

    >>> whole = pa.table({"size": [None, 2.0, 3.0], "name": ["a", None, "c"]})
    >>> pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    >>> to_bytes(pieces) == to_bytes(whole), from_bytes(to_bytes(pieces)) == whole
    (True, True)
    """
    plain = plain_table(table)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plain.schema, options=pa.ipc.IpcWriteOptions(**_OPTIONS)) as writer:
        # A batch without rows would be left out.
        for batch in plain.to_batches() or [pa.RecordBatch.from_pylist([], plain.schema)]:
            writer.write_batch(batch)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def from_bytes(data: bytes) -> pa.Table:
    """The way back."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()


def plain_table(table: pa.Table) -> pa.Table:
    """The same values in one batch, each column in one piece and in its plain type, without metadata."""
    columns = [_plain(column) for column in table.columns]
    fields = [pa.field(name, column.type) for name, column in zip(table.column_names, columns, strict=True)]
    return pa.table(columns, schema=pa.schema(fields))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    kind = _PLAIN.get(str(kind), kind)
    array = column.cast(kind).combine_chunks() if column.type != kind else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], kind)
    empty = _empty(kind)
    if empty is None:
        return pa.array(array.to_pylist(), kind)
    size = len(array)
    bitmap = _bits(array.is_valid().to_numpy(zero_copy_only=False)) if array.null_count else None
    filled = pc.fill_null(array, pa.scalar(empty, kind)) if array.null_count else array
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, size, [bitmap, _bits(filled.to_numpy(zero_copy_only=False))])
    if kind in (pa.string(), pa.binary()):
        offsets = _numbers(filled, np.dtype(np.int32), size + 1, 1)
        data = filled.buffers()[2]
        text = b"" if data is None else data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
        return pa.Array.from_buffers(
            kind, size, [bitmap, pa.py_buffer((offsets - offsets[0]).tobytes()), pa.py_buffer(text)]
        )
    width = np.dtype(f"V{kind.bit_width // 8}")
    return pa.Array.from_buffers(kind, size, [bitmap, pa.py_buffer(_numbers(filled, width, size, 1).tobytes())])


def _empty(kind: pa.DataType) -> Any:
    """What stands below a null; None for types that are built anew value by value."""
    if pa.types.is_boolean(kind):
        return False
    if kind == pa.string():
        return ""
    if kind == pa.binary():
        return b""
    fixed = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    return 0 if fixed and not pa.types.is_float16(kind) else None


def _numbers(array: pa.Array, kind: "np.dtype[Any]", count: int, place: int) -> "np.ndarray[Any, Any]":
    buffer = array.buffers()[place]
    if buffer is None or not buffer.size:
        return np.zeros(count, kind)
    return np.frombuffer(buffer, kind, count, array.offset * kind.itemsize)


def _bits(values: "np.ndarray[Any, Any]") -> pa.Buffer:
    return pa.py_buffer(np.packbits(values.astype(bool), bitorder="little").tobytes())
