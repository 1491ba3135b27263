"""Data sets from the archive: built at versions of its tables, kept as manifests, built again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from tidemill.processors.training.columns import column_of
from tidemill.processors.training.dataset import Dataset, Recipe, build, canonical, id_of
from tidemill.processors.training.ipc import from_bytes, to_bytes
from tidemill.processors.training.preparation import served_columns
from tidemill.schemas.errors import DeclarationError, ModelError, StreamError, nearest
from tidemill.streams.archive import Archive
from tidemill.streams.archive_columns import OFFSET, PARTITION
from tidemill.streams.plan import Plan

OUTCOMES, FEATURES = "outcomes", "features"
FOLDER = "datasets"
_CODE = ("chance", "columns", "dataset", "decisions", "ipc", "preparation", "selection")
_PREFIX = 4
_SOURCE = ("source_partition", "source_offset")


def build_dataset(
    archive: Archive,
    plan: Plan,
    recipe: Recipe | None = None,
    *,
    features: Sequence[str] | None = None,
    versions: Mapping[str, int] | None = None,
    decided: pa.Table | None = None,
) -> Dataset:
    """Make a data set of what is archived: the table of outcomes, and that of features for what outcomes lack.

    `features` are the model's, by default all that outcomes carry. Of `recipe`, `columns`, `extra`, `served` and
    `classes` are filled in. `versions` gives versions of the tables by suffix, by default the present ones.
    `decided` is what several annotators decided, as from `processors.training.decisions`.

    Raises:
        DeclarationError: the pipeline has no outcomes, or there is no such feature.
        ModelError: no row is left.
        StreamError: a table, or a version of it, cannot be read.

    """
    if plan.make_outcomes is None:
        raise DeclarationError(
            f"pipeline {plan.name} has no outcomes to learn from: declare labels and a model, and publish 'outcomes'"
        )
    stage = plan.make_outcomes()
    carried = [name for name in plan.contracts[FEATURES].arrow.names if stage.carries(name)]
    wanted = list(dict.fromkeys(carried if features is None else features))
    chosen = {name: stage.name_of(name) for name in wanted if stage.carries(name)}
    lacking = {name: name for name in wanted if name not in chosen}
    known = plan.contracts[FEATURES].arrow.names
    for name in lacking:
        if name not in known:
            raise DeclarationError(f"pipeline {plan.name} has no feature {name!r}{nearest(name, known)}")
    names = {name: column_of(chosen.get(name, name), plan.target.columns()) for name in wanted}
    tables = {OUTCOMES: _table(archive, plan, OUTCOMES, versions)}
    if lacking:
        tables[FEATURES] = _table(archive, plan, FEATURES, versions)
    outcomes = _rows(archive, tables, OUTCOMES)
    full = replace(
        recipe or Recipe({}),
        columns={names[name]: there for name, there in chosen.items()},
        extra={names[name]: there for name, there in lacking.items()},
        served=served_columns([name for name in outcomes.column_names if name not in chosen.values()]),
        classes=list(plan.target.classes),
    )
    origin = {"pipeline": plan.name, "pipeline_version": plan.version, "code": code_hash(), "tables": tables}
    return build(outcomes, _features(archive, tables, full), full, origin, names, decided)


def rebuild(archive: Archive, manifest: Mapping[str, Any]) -> Dataset:
    """Build a data set again by its manifest alone, to the same bytes.

    If the versions that it names have been cleaned up, the present ones serve: a row of an offset never changes.

    Raises:
        StreamError: rows are gone, or the bytes are not the same.

    """
    recipe, tables = Recipe.of(manifest["recipe"]), manifest["tables"]
    origin = {name: manifest[name] for name in ("pipeline", "pipeline_version", "code", "tables")}
    outcomes, features = _rows(archive, tables, OUTCOMES), _features(archive, tables, recipe)
    try:
        made = build(outcomes, features, recipe, origin, manifest["features"], _decided(archive, manifest))
    except ModelError:
        raise StreamError(f"data set {id_of(manifest)}: all of its rows are gone from the archive") from None
    if made.sha256 != manifest["sha256"]:
        code = code_hash()
        why = (
            f"the code that builds data sets has changed (then {manifest['code']}, now {code}): use the former version"
            if code != manifest["code"]
            else "rows of it are gone from the archive, or were changed there"
        )
        raise StreamError(
            f"data set {id_of(manifest)}: expected {manifest['rows']:,} rows with SHA-256 {manifest['sha256']}, got"
            f" {made.rows.num_rows:,} rows with {made.sha256}; {why}"
        )
    return Dataset(made.rows, manifest, made.decided)


class DatasetStore:
    """Manifests of data sets, one JSON document each, in the folder `datasets` of an archive.

    What several annotators decided stands beside them in a file that its SHA-256 names.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._files, place = _place(archive.root)
        self._folder = f"{place}/{FOLDER}"

    def save(self, dataset: Dataset) -> str:
        """Keep the manifest; returns the data set's id. What it names is kept from now on as long as declared."""
        self._files.create_dir(self._folder, recursive=True)
        if dataset.decided is not None:
            place = _decisions_name(dataset.manifest["decisions"]["sha256"])
            self._write(f"{self._folder}/{place}", to_bytes(dataset.decided))
        self._write(self._path(dataset.id), canonical(dataset.manifest))
        return dataset.id

    def _write(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        unfinished = f"{folder}/.{name}.{id(data)}"
        with self._files.open_output_stream(unfinished) as file:
            file.write(data)
        self._files.move(unfinished, path)

    def ids(self) -> list[str]:
        """Every data set's id, the oldest first."""
        return [id_ for _, id_ in self._saved()]

    def find(self, id_: str) -> str:
        """The id given, or the only one that begins so; raises StreamError with the nearest if there is none."""
        return _find(id_, self.ids(), self.archive.root)

    def manifest(self, id_: str) -> dict[str, Any]:
        """A data set's manifest; raises StreamError if there is none, or if it is not what was saved."""
        found = self.find(id_)
        with self._files.open_input_stream(self._path(found)) as file:
            manifest: dict[str, Any] = json.loads(file.read())
        if id_of(manifest) != found:
            raise StreamError(f"{self._path(found)}: the manifest has been changed: it is that of {id_of(manifest)}")
        return manifest

    def rebuild(self, id_: str) -> Dataset:
        """Build it again, to the same bytes; raises StreamError if that cannot be."""
        return rebuild(self.archive, self.manifest(id_))

    def named(self, suffix: str, now: datetime, age: timedelta) -> list[int]:
        """The versions of a table that are named by data sets which were saved no longer than `age` ago."""
        young = [id_ for saved, id_ in self._saved() if saved is None or now - saved <= age]
        tables = [self.manifest(id_)["tables"] for id_ in young]
        return sorted({each[suffix]["version"] for each in tables if suffix in each})

    def _saved(self) -> list[tuple[datetime | None, str]]:
        found = self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
        manifests = [each for each in found if each.base_name.endswith(".json")]
        times = [(each.mtime.astimezone(UTC) if each.mtime else None, each.base_name[:-5]) for each in manifests]
        return sorted(times, key=lambda each: (each[0] or datetime.min.replace(tzinfo=UTC), each[1]))

    def _path(self, id_: str) -> str:
        return f"{self._folder}/{id_}.json"


def stores(root: str) -> dict[str, DatasetStore]:
    """The data sets of every pipeline that has an archive below `root`, a folder or a URL; by the pipeline's name."""
    files_, place = _place(root)
    found = files_.get_file_info(fs.FileSelector(place, allow_not_found=True))
    names = sorted(each.base_name for each in found if each.type == fs.FileType.Directory)
    return {name: DatasetStore(Archive(f"{root.rstrip('/')}/{name}")) for name in names}


def store_of(root: str, id_: str) -> DatasetStore:
    """The one of `stores` that has this data set, named by its id or a beginning of it that no other has.

    Raises:
        StreamError: there is none, with the nearest id that there is; or there are several.

    """
    every = {known: store for store in stores(root).values() for known in store.ids()}
    return every[_find(id_, list(every), root)]


def _find(id_: str, known: Sequence[str], where: str) -> str:
    found = [id_] if id_ in known else [each for each in known if len(id_) >= _PREFIX and each.startswith(id_)]
    if len(found) > 1:
        raise StreamError(f"{id_!r} is the beginning of several data sets: {', '.join(found)}")
    if not found:
        raise StreamError(f"there is no data set {id_!r} in {where}{nearest(id_, known)}")
    return found[0]


def _place(root: str) -> tuple[fs.FileSystem, str]:
    files_, place = fs.FileSystem.from_uri(root if "://" in root else str(Path(root).absolute()))
    return files_, str(place)


def code_hash() -> str:
    """What identifies the code that makes data sets of archived rows."""
    folder = files("tidemill.processors").joinpath("training")
    texts = [folder.joinpath(f"{name}.py").read_bytes() for name in _CODE]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]


def _table(archive: Archive, plan: Plan, suffix: str, versions: Mapping[str, int] | None) -> dict[str, Any]:
    """What a manifest says of a table: its version then, and the offsets that it had."""
    plan.require_published(suffix, "a data set")
    table = archive.table(suffix)
    version = (versions or {}).get(suffix)
    version = int(table.open().version()) if version is None else version
    offsets = {str(partition): list(each) for partition, each in table.ranges(version).items()}
    return {"topic": plan.topic(suffix), "version": version, "offsets": offsets}


def _rows(archive: Archive, tables: Mapping[str, Any], suffix: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows that a manifest names, in the order of the log."""
    table, told = archive.table(suffix), tables[suffix]
    offsets = {int(partition): (first, end) for partition, (first, end) in told["offsets"].items()}
    try:
        rows = table.read(version=told["version"], offsets=offsets, columns=columns)
    except StreamError:
        # The version has been cleaned up; the rows may be there all the same.
        rows = table.read(offsets=offsets, columns=columns)
    return rows.sort_by([(PARTITION, "ascending"), (OFFSET, "ascending")])


def _decisions_name(sha256: str) -> str:
    return f"decisions-{sha256[:16]}.arrow"


def _decided(archive: Archive, manifest: Mapping[str, Any]) -> pa.Table | None:
    """What annotators had decided when the data set was made; raises StreamError if it is gone, or not the same."""
    if "decisions" not in manifest:
        return None
    sha256 = manifest["decisions"]["sha256"]
    files_, place = _place(archive.root)
    path = f"{place}/{FOLDER}/{_decisions_name(sha256)}"
    try:
        with files_.open_input_stream(path) as file:
            data = file.read()
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StreamError(
            f"data set {id_of(manifest)}: what annotators decided is gone from {path}, or was changed there"
        )
    return from_bytes(data)


def _features(archive: Archive, tables: Mapping[str, Any], recipe: Recipe) -> pa.Table | None:
    if not recipe.extra:
        return None
    return _rows(archive, tables, FEATURES, [*_SOURCE, *recipe.extra.values(), PARTITION, OFFSET])
