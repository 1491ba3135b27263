"""`tidemill datasets`."""

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli.archive import Root, archives
from tidemill.cli.options import AsJson, Bootstrap, PipelineFile, RegistryUrl, moment, out, print_json, print_table
from tidemill.schemas.errors import DeclarationError

if TYPE_CHECKING:
    import pyarrow as pa

    from tidemill.pipeline import Pipeline
    from tidemill.processors.training.dataset import Dataset
    from tidemill.processors.training.selection import Selection

app = typer.Typer(help="Data sets made of the archive: what they hold, how they differ.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="The data set's id, or its first digits (at least four).")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write the rows here: .arrow (what the SHA-256 is of), .parquet."
    ),
]


@app.command("list")
def list_datasets(
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", metavar="NAME", help="Of this pipeline only; by default of all.")
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets, the newest last.

    Example:
        tidemill datasets list

    """
    from tidemill.schemas.errors import nearest
    from tidemill.streams.datasets import stores

    every = stores(archives(root))
    if pipeline is not None and pipeline not in every:
        raise DeclarationError(f"{archives(root)} has no archive of a pipeline {pipeline!r}{nearest(pipeline, every)}")
    chosen = [store for name, store in every.items() if pipeline in (None, name)]
    found = [{"id": id_, **store.manifest(id_)} for store in chosen for id_ in store.ids()]
    if as_json:
        print_json(found)
        return
    rows = [
        {
            "id": each["id"],
            "pipeline": each["pipeline"],
            "rows": each["rows"],
            "events from": each["event_time"][0][:19],
            "to": each["event_time"][1][:19],
            "selection": ", ".join(told["kind"] for told in each["recipe"]["selection"]) or "all",
            "classes": _counts(each),
        }
        for each in found
    ]
    print_table("Data sets", rows) if rows else out.print(
        "there is no data set yet: a training job makes one, and so does `tidemill datasets build`"
    )


@app.command()
def show(id: Id, root: Root = None, as_json: AsJson = False) -> None:
    """Show what a data set holds, where it came from, and how it was made.

    Example:
        tidemill datasets show 3f1c0a9e7b52d418

    """
    from tidemill.streams.datasets import store_of

    store = store_of(archives(root), id)
    found = store.find(id)
    manifest = store.manifest(found)
    if as_json:
        print_json({"id": found, **manifest})
        return
    _print(found, manifest)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A data set's id, or its first digits.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of data set A in B: events added, removed and relabelled, classes, offsets, what was declared.

    Both are built again from the archive.

    Example:
        tidemill datasets diff 3f1c 9ab0

    """
    from tidemill.processors.training.difference import difference
    from tidemill.streams.datasets import store_of

    made = difference(*(store_of(archives(root), id_).rebuild(id_) for id_ in (first, second)))
    if as_json:
        print_json(made)
        return
    out.print(f"from {made['from']} to {made['to']}: {made['rows'][0]:,} → {made['rows'][1]:,} rows")
    for what in ("added", "removed", "relabelled"):
        count, some = made[what]["count"], made[what]["first"]
        out.print(
            f"  {what:<11} {count:>9,}" + (f"   {', '.join(some)}{' …' if count > len(some) else ''}" if some else "")
        )
    for name, (before, after) in made["classes"].items():
        out.print(f"  share of {name}: {before:.2%} → {after:.2%}")
    for name, (was, now) in made["tables"].items():
        out.print(f"  table {name}: {_table(was)} → {_table(now)}")
    for name, (was, now) in made["recipe"].items():
        out.print(f"  {name}: {was} → {now}")
    for what, names in made["features"].items():
        if names:
            out.print(f"  features {what}: {', '.join(names)}")
    if made["same_bytes"]:
        out.print("the rows are the same, byte by byte")


@app.command()
def rebuild(id: Id, output: Output = None, root: Root = None, as_json: AsJson = False) -> None:
    """Build a data set again from the archive, and compare its bytes with those that it had.

    Exits with 2 if they are not the same.

    Example:
        tidemill datasets rebuild 3f1c0a9e7b52d418 --output january.parquet

    """
    from tidemill.streams.datasets import store_of

    made = store_of(archives(root), id).rebuild(id)
    _write(made, output)
    if as_json:
        print_json({"id": made.id, "rows": made.rows.num_rows, "sha256": made.sha256, "same": True, "output": output})
        return
    out.print(f"data set {made.id}: {made.rows.num_rows:,} rows, the same bytes as then (SHA-256 {made.sha256})")


@app.command()
def build(
    pipeline: PipelineFile,
    last: Annotated[int | None, typer.Option("--last", min=1, help="The rows whose labels became known last.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Events from this time on (ISO 8601, UTC).")] = None,
    known_before: Annotated[
        str | None, typer.Option("--known-before", help="Labels that were known before this time.")
    ] = None,
    half_life: Annotated[
        str | None, typer.Option("--half-life", help="Half the weight for rows that are so much older: 30d.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="So many rows, by chance, with each class's share.")
    ] = None,
    balance: Annotated[str | None, typer.Option("--balance", help="`weights` or `down_sample`.")] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help="Only this feature, by default the model's. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="For what is drawn by chance.")] = 0,
    output: Output = None,
    root: Root = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a data set of what is archived, and keep its manifest.

    If several annotators label events, their labels on the log decide, as everywhere; else no cluster is asked.

    Examples:
        tidemill datasets build flights.py --last 50000
        tidemill datasets build flights.py --from 2013-02-01 --half-life 30d -o february.parquet

    """
    from tidemill.loading import load_pipeline
    from tidemill.processors.training.dataset import Recipe
    from tidemill.processors.training.selection import decayed, last_rows, stratified
    from tidemill.processors.training.selection import since as since_time
    from tidemill.streams.archive import Archive
    from tidemill.streams.datasets import DatasetStore, build_dataset

    declared = load_pipeline(pipeline)
    plan = declared.plan()
    chosen: list[Selection] = []
    if since is not None:
        chosen.append(since_time(since))
    if last is not None:
        chosen.append(last_rows(last))
    if sample is not None:
        chosen.append(stratified("label", sample, seed))
    if half_life is not None:
        chosen.append(decayed(half_life))
    recipe = Recipe({}, selection=chosen, known_before=moment(known_before), balance=balance, seed=seed)  # type: ignore[arg-type]
    features = feature or (None if declared.model is None else list(declared.model.features))
    archive = Archive(f"{archives(root)}/{plan.name}")
    decided = _decided(declared, recipe.known_before, bootstrap_servers, registry_url)
    made = build_dataset(archive, plan, recipe, features=features, decided=decided)
    DatasetStore(archive).save(made)
    _write(made, output)
    if as_json:
        print_json({"id": made.id, **made.manifest})
        return
    _print(made.id, made.manifest)


def _decided(
    declared: "Pipeline", until: datetime | None, bootstrap_servers: str | None, registry_url: str | None
) -> "pa.Table | None":
    if declared.labels is None or declared.labels.annotator is None:
        return None
    from tidemill.cli.clients import client_for
    from tidemill.labelling import read_decided
    from tidemill.streams.kafka.reader import KafkaReader

    with (
        client_for(declared, bootstrap_servers, registry_url) as client,
        closing(KafkaReader(client.connection)) as log,
    ):
        return read_decided(declared, log, client.schemas, until)


def _write(made: "Dataset", output: Path | None) -> None:
    if output is None:
        return
    if output.suffix == ".arrow":
        output.write_bytes(made.to_bytes())
    elif output.suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(made.rows, output)
    else:
        raise DeclarationError(f"{output}: expected a name that ends in .arrow or .parquet")


def _print(id_: str, manifest: Mapping[str, Any]) -> None:
    told = manifest
    out.print(f"data set [bold]{id_}[/bold] of pipeline {told['pipeline']} ({told['pipeline_version']})")
    out.print(f"  rows         {told['rows']:,} of {told['events']:,} labelled events")
    for reason, count in told["dropped"].items():
        out.print(f"  taken out    {count:,} ({reason.replace('_', ' ')})")
    out.print(f"  events       {told['event_time'][0]} to {told['event_time'][1]}")
    out.print(f"  labels       {told['label_time'][0]} to {told['label_time'][1]}")
    if "classes" in told:
        out.print(f"  classes      {_counts(told)}")
    out.print(f"  features     {', '.join(told['features'])}")
    for name, table in told["tables"].items():
        out.print(f"  table        {name} {_table(table)}")
    for selection in told["recipe"]["selection"]:
        out.print(f"  selection    {selection}")
    for name in ("known_before", "balance"):
        if told["recipe"][name] is not None:
            out.print(f"  {name:<12} {told['recipe'][name]}")
    out.print(f"  bytes        {told['bytes']:,}, SHA-256 {told['sha256']}")


def _counts(manifest: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in manifest.get("classes", {}).items())


def _table(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "none"
    ranges = ", ".join(f"{partition}: {first}–{end - 1}" for partition, (first, end) in told["offsets"].items())
    return f"version {told['version']}, offsets {ranges}"
