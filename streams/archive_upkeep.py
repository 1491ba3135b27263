"""Keeping an archive in good order: few files, nothing older than declared, and all that data sets still need."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill.streams.archive import ARCHIVED, Archive
from tidemill.streams.datasets import DatasetStore

MANY_FILES = 16
"""So many files in a table are joined into larger ones."""


@dataclass(frozen=True)
class Upkeep:
    """What was done to one table."""

    compacted: int
    """Files that were joined into larger ones."""
    forgotten: int
    """Rows that were older than they are kept."""
    removed: int
    """Files that no version needs any more which is kept."""


def maintain(archive: Archive, now: datetime, many_files: int = MANY_FILES) -> Mapping[str, Upkeep]:
    """Join small files, delete rows and versions that are older than the archive keeps them; by table.

    What a data set names is kept for as long as versions are, counted from when the data set was last saved. Others may
    write to the tables at the same time: what they are in the way of is left for the next time.
    """
    store, ages = DatasetStore(archive), archive.ages
    done = {}
    for suffix in ARCHIVED:
        table = archive.table(suffix)
        if not table.exists():
            continue
        forgotten = 0 if ages.kept_rows is None else table.forget(now - ages.kept_rows)
        compacted = table.compact() if table.files() >= many_files else 0
        removed = table.clean(store.named(suffix, now, ages.kept_versions), age=ages.kept_versions)
        done[suffix] = Upkeep(compacted, forgotten, removed)
    return done
