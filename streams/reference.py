"""Reading the files of reference tables."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from tidemill.processors.feature_enrichment import FileTable
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable
from tidemill.schemas.errors import DeclarationError


def load_file_table(declared: FileTable, base: Path) -> tuple[ReferenceTable, str]:
    """The table in memory, and the SHA-256 of its file: a part of the pipeline's version.

    Raises:
        DeclarationError: the file is missing, unreadable, or its key is not unique.

    """
    rows, digest = _load(base / declared.path, declared.format, f"table {declared.name!r}")
    table = ReferenceTable(declared.name, rows.schema, declared.key)
    table.replace(rows)
    return table, digest


def read_file(path: Path, what: str, text: Collection[str] = ()) -> pa.Table:
    """The rows of a csv, parquet or feather file, by its name; a csv file's columns `text` are taken as they stand.

    Raises:
        DeclarationError: it is missing or unreadable; `what` says what it was to be.

    """
    return _load(path, path.suffix.lower().removeprefix("."), what, text)[0]


def _load(path: Path, kind: str, what: str, text: Collection[str] = ()) -> tuple[pa.Table, str]:
    try:
        content = path.read_bytes()
        return _read(pa.BufferReader(content), kind, text), hashlib.sha256(content).hexdigest()
    except (OSError, pa.ArrowException) as error:
        raise DeclarationError(f"{what}: {path} cannot be read as {kind}: {error}") from None


def _read(source: pa.BufferReader, kind: str, text: Collection[str]) -> pa.Table:
    match kind:
        case "parquet":
            return pa.parquet.read_table(source)
        case "csv":
            # As everywhere: an empty cell is null, whatever its column holds, and no text means null by itself.
            options = pa.csv.ConvertOptions(
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                column_types=dict.fromkeys(text, pa.string()),
            )
            return pa.csv.read_csv(source, convert_options=options)
        case _:
            return pa.feather.read_table(source)
