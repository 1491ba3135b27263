"""Reading the files of reference tables."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from tidemill.processors.feature_enrichment import FileTable
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable
from tidemill.schemas.errors import DeclarationError

_EMPTY_IS_NULL = pa.csv.ConvertOptions(null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False)


def load_file_table(declared: FileTable, base: Path) -> tuple[ReferenceTable, str]:
    """The table in memory, and the SHA-256 of its file: a part of the pipeline's version.

    Raises:
        DeclarationError: the file is missing, unreadable, or its key is not unique.

    """
    path = base / declared.path
    try:
        content = path.read_bytes()
        rows = _read(pa.BufferReader(content), declared.format)
    except (OSError, pa.ArrowException) as error:
        raise DeclarationError(
            f"table {declared.name!r}: {path} cannot be read as {declared.format}: {error}"
        ) from None
    table = ReferenceTable(declared.name, rows.schema, declared.key)
    table.replace(rows)
    return table, hashlib.sha256(content).hexdigest()


def _read(source: pa.BufferReader, kind: str) -> pa.Table:
    match kind:
        case "parquet":
            return pa.parquet.read_table(source)
        case "csv":
            # As everywhere: an empty cell is null, whatever its column holds, and no text means null by itself.
            return pa.csv.read_csv(source, convert_options=_EMPTY_IS_NULL)
        case _:
            return pa.feather.read_table(source)
