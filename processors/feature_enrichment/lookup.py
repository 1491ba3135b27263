"""Features that are looked up in reference tables, and the declarations of those tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError

_FORMATS = {".parquet": "parquet", ".csv": "csv", ".feather": "feather", ".arrow": "feather"}


@dataclass(frozen=True)
class FileTable:
    """A table that is read from a file when a worker starts; made by `file_table`."""

    name: str
    path: str
    key: tuple[str, ...]

    @property
    def format(self) -> str:
        """How to read the file: parquet, csv or feather."""
        return _FORMATS[PurePath(self.path).suffix.lower()]

    def describe(self) -> dict[str, Any]:
        """All that decides its meaning except what is in the file; where that lies does not matter."""
        return {"kind": "file_table", "name": self.name, "format": self.format, "key": list(self.key)}


@dataclass(frozen=True)
class TopicTable:
    """A table that a compacted topic keeps up to date; made by `topic_table`."""

    name: str
    contract: Contract | str
    """Of the rows; a string is the path of its `.avsc` file."""
    key: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """All that decides its meaning except what is in the topic."""
        contract = self.contract if isinstance(self.contract, str) else self.contract.fingerprint_hex
        return {"kind": "topic_table", "name": self.name, "contract": contract, "key": list(self.key)}


@dataclass(frozen=True)
class Lookup:
    """Columns of a reference table as features; made by `lookup`."""

    table: str
    declaration: FileTable | TopicTable | None
    """The table's own, if it was given; else the pipeline declares a table of this name."""
    on: tuple[str, ...]
    columns: tuple[str, ...]
    prefix: str

    @property
    def names(self) -> tuple[str, ...]:
        """The features that it makes, in order."""
        return tuple(self.prefix + column for column in self.columns)

    def describe(self) -> dict[str, Any]:
        """All that decides its features except what is in the table."""
        return {
            "kind": "lookup",
            "table": self.declaration.describe() if self.declaration else self.table,
            "on": list(self.on),
            "columns": list(self.columns),
            "prefix": self.prefix,
        }


def file_table(name: str, path: str | PurePath, key: Sequence[str]) -> FileTable:
    """Declare a reference table in a parquet, csv or feather file, in which `key` is unique.

    >>> file_table("planes", "planes.parquet", key=["tail_number"]).format
    'parquet'

    Raises DeclarationError.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in _FORMATS:
        raise DeclarationError(f"table {name!r}: expected a file that ends in {', '.join(_FORMATS)}; got {str(path)!r}")
    return FileTable(name, str(path), _listed(f"table {name!r}: key", key))


def topic_table(name: str, contract: Contract | str | PurePath, key: Sequence[str]) -> TopicTable:
    """Declare a reference table that follows a compacted topic: one row per record key, an empty record deletes it.

    `key` are the row's fields to look up by; the records should be keyed by the same.

    Raises DeclarationError.
    """
    made = str(contract) if isinstance(contract, PurePath) else contract
    return TopicTable(name, made, _listed(f"table {name!r}: key", key))


def lookup(table: FileTable | TopicTable | str, on: Sequence[str], columns: Sequence[str], prefix: str = "") -> Lookup:
    """Declare one feature per column of the table's row whose key equals `on`; null where there is no such row.

    `on` names event fields or earlier features, in the order of the table's key. A null equals nothing. `prefix` goes
    before the features' names, to look up twice in one table.

    >>> lookup("airports", on=["destination"], columns=["altitude"], prefix="destination_").names
    ('destination_altitude',)

    Raises DeclarationError.
    """
    declaration = None if isinstance(table, str) else table
    name = table if isinstance(table, str) else table.name
    what = f"lookup({name!r})"
    return Lookup(name, declaration, _listed(f"{what}: on", on), _listed(f"{what}: columns", columns), prefix)


def _listed(what: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise DeclarationError(f"{what} expected a list of names, such as ['origin']; got {names!r}")
    if len(set(names)) < len(names):
        raise DeclarationError(f"{what} names something twice: {', '.join(names)}")
    return tuple(names)
