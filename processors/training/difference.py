"""How two data sets differ: rows, labels, classes, where they came from."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tidemill.processors.frames import to_polars
from tidemill.processors.training.columns import EVENT_ID, LABEL, SOURCE
from tidemill.processors.training.dataset import Dataset

_SHOWN = 5


def difference(first: Dataset, second: Dataset) -> dict[str, Any]:
    """What became of the first data set in the second.

    `added`, `removed` and `relabelled` count events, with a few of their ids; `classes` gives each class's share in
    both; `tables` the versions and offsets, `recipe` what was declared differently, `features` those that came or went.
    """
    old, new = (
        to_polars(each.rows).select(*SOURCE, EVENT_ID, pl.col(LABEL).cast(pl.String)) for each in (first, second)
    )
    both = old.join(new, on=list(SOURCE), how="inner", suffix="_after", maintain_order="left")
    changed = both.filter(pl.col(LABEL).ne_missing(pl.col(f"{LABEL}_after")))
    return {
        "from": first.id,
        "to": second.id,
        "rows": [len(old), len(new)],
        "kept": len(both),
        "added": _events(new.join(old, on=list(SOURCE), how="anti", maintain_order="left")),
        "removed": _events(old.join(new, on=list(SOURCE), how="anti", maintain_order="left")),
        "relabelled": _events(changed),
        "classes": _shares(first.manifest, second.manifest),
        "tables": _changed(first.manifest["tables"], second.manifest["tables"]),
        "recipe": _changed(first.manifest["recipe"], second.manifest["recipe"]),
        "features": {
            "added": sorted(set(second.features) - set(first.features)),
            "removed": sorted(set(first.features) - set(second.features)),
        },
        "same_bytes": first.sha256 == second.sha256,
    }


def _events(rows: pl.DataFrame) -> dict[str, Any]:
    return {"count": len(rows), "first": rows[EVENT_ID].head(_SHOWN).to_list()}


def _shares(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[float]]:
    both = (first, second)
    names = sorted({name for each in both for name in each.get("classes", {})})
    return {name: [each.get("classes", {}).get(name, 0) / each["rows"] for each in both] for name in names}


def _changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = [*first, *(name for name in second if name not in first)]
    return {name: [first.get(name), second.get(name)] for name in names if first.get(name) != second.get(name)}
