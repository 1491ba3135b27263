"""`tidemill explain`: all that is known of one event, on one page."""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tidemill.cli.options import (
    DEFAULT_BOOTSTRAP,
    AsJson,
    Bootstrap,
    RegistryUrl,
    err,
    out,
    plain,
    print_json,
    print_table,
)
from tidemill.schemas.errors import DeclarationError
from tidemill.streams.explanation import Explainer, Explanation, Place

_PLACE = re.compile(r"(?:[^\s\[\]@]+\.events\[(\d{1,9})\]|(\d{1,9}))@(\d{1,18})", re.ASCII)
_SYSTEM = ("event_id", "event_key", "event_time", "source_partition", "source_offset", "pipeline_version", "place")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[PIPELINE] EVENT_ID",
            help="The pipeline's name or FILE.py, which may be left out if the cluster has only one; then the event's"
            " id, or its place: 2@17 or P.events[2]@17.",
        ),
    ],
    partition: Annotated[
        int | None, typer.Option("--partition", min=0, help="Its partition, if you know it: less is to be read.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option("--offset", min=0, help="With --partition: where it stands on P.events.")
    ] = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Explain an event: what became of it and why, the model that answered and what that was made of, its labels.

    Everything comes from the topics, which are looked through for the event's id. Private fields are not shown. Exits
    with 2 if there is no such event.

    Examples:
        tidemill explain UA1545-2013-01-01
        tidemill explain flights UA1545-2013-01-01
        tidemill explain flights 2@17 --json

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.follower import Follower
    from tidemill.streams.kafka.reader import KafkaReader

    if len(words) > 2:
        raise DeclarationError(f"expected a pipeline and an event's id, got {len(words)} words: {' '.join(words)}")
    event = words[-1]
    if offset is not None and partition is None:
        raise DeclarationError("--offset 17 says nothing without --partition")
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    with closing(KafkaReader(connection, timeout=20)) as reader:
        topics = reader.topics("")
        chosen = _chosen(words, topics)
        with (
            client_for(chosen, bootstrap_servers, registry_url) as client,
            Progress(
                TextColumn("looking through {task.total:,} records"),
                BarColumn(),
                TimeRemainingColumn(),
                console=err,
                transient=True,
            ) as bar,
        ):
            task = bar.add_task("", total=0)
            explainer = Explainer(
                client.name,
                client.contracts(),
                topics,
                reader,
                client.schemas,
                Follower(connection, f"{client.name}.models"),
                lambda n: bar.advance(task, n),
            )
            bar.update(task, total=explainer.total())
            place = None if partition is None or offset is None else Place(partition, offset)
            found = _PLACE.fullmatch(event)
            if found is not None:
                place = Place(int(found[1] or found[2]), int(found[3]))
                event = explainer.at(place)
            made = explainer.explain(event, place, partition)
    if as_json:
        print_json(made)
    else:
        show(made)


def _chosen(words: Sequence[str], topics: Sequence[str]) -> str:
    """The pipeline that is named first, or else the only one."""
    names = [topic.removesuffix(".events") for topic in topics if topic.endswith(".events")]
    if len(words) == 2:
        if words[1] in names and words[0] not in names:
            raise DeclarationError(f"the pipeline comes first: tidemill explain {words[1]} {words[0]}")
        return words[0]
    if len(names) != 1:
        known = f": {', '.join(names)}" if names else ""
        raise DeclarationError(
            f"expected one pipeline on the cluster, found {len(names)}{known}; name the one you mean:"
            f" tidemill explain PIPELINE {words[0]}"
        )
    return names[0]


def show(made: Explanation) -> None:
    """One page for a person."""
    event = made.event or {}
    out.print(f"[bold]{escape(made.event_id)}[/bold] of pipeline {made.pipeline}, {escape(event.get('place', ''))}")
    if made.also:
        out.print(f"the same id also came at {escape(', '.join(made.also))}")
    if event.get("fields") is None:
        out.print("the event itself is no longer on the log")
    _fields("Event", event.get("fields"))
    _answer(made)
    _fields("Features, as served", _without(made.features, _SYSTEM))
    _model(made)
    _list("Labels", [_without(row, ()) for row in made.labels])
    names = ("label", "label_time", "label_delay_ms", "revision", "confidence", "annotator", "value", "place")
    _list("Outcomes, the last one counts", [{k: row[k] for k in names if k in row} for row in made.outcomes])
    if made.trained:
        _list("Models trained on it", [_line(row) for row in made.trained])
    elif made.labels:
        out.print("\nno announced model was trained on it")
    for suffix, rows in made.records.items():
        _list(f"On {made.pipeline}.{suffix}", rows)


def _answer(made: Explanation) -> None:
    for row in made.rejections:
        out.print(f"\n[bold]rejected[/bold] by {row['stage']}: {escape(row['reason'])}, {escape(row['of'])}")
        out.print(f"  {escape(row['message'])}")
    if made.prediction is None:
        if not made.rejections:
            out.print("\nit is not answered yet")
        return
    out.print(f"\nit passed every check, and model [bold]{made.prediction['model_version']}[/bold] answered:")
    _fields(None, _without(made.prediction, (*_SYSTEM, "model_version")))
    for row in made.other_answers:
        answer = _without(row, _SYSTEM)
        out.print(f"  beside it, as {answer.pop('role', 'shadow')}: " + _inline(answer))


def _model(made: Explanation) -> None:
    model = made.model
    if model is None:
        return
    out.print(f"\n[bold]Model {model['model_version']}[/bold]: {model['estimator']}, announced {_time(model)}")
    ranges = ", ".join(f"[{r['partition']}]@{r['first']}-{r['last']}" for r in model["training_offsets"])
    topic = "outcomes" if model.get("by") == "learner" else "features"
    out.print(
        f"  trained on {model['training_rows']:,} events of {plain(model['trained_from'])} to"
        f" {plain(model['trained_until'])}"
    )
    out.print(escape(f"  {made.pipeline}.{topic} {ranges or 'of no offsets'}"))
    out.print(f"  features contract {model['features_fingerprint']}, pipeline version {model['pipeline_version']}")
    for name, value in sorted(model["metrics"].items()):
        out.print(f"  {name:<20} {value:.4f} on {model['evaluation_rows']:,} later events")
    for name in ("reason", "by", "trigger_id", "job_id", "dataset"):
        if model.get(name):
            out.print(escape(f"  {name.replace('_', ' ')}: {model[name]}"))
    gates = model["gates"] if isinstance(model["gates"], list) else []
    for gate in gates:
        if isinstance(gate, Mapping):
            passed = "passed" if gate.get("passed") else "[bold]refused[/bold]"
            out.print(f"  gate {escape(str(gate.get('name')))}: {passed}, {escape(str(gate.get('message', '')))}")
    if len(made.model_history) > 1:
        _list("Its way", [_line(row) for row in made.model_history])
    if model.get("card"):
        out.print(f"\n{escape(model['card'])}")


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": row["model_version"],
        "status": row["status"],
        "announced": _time(row),
        "by": row.get("by") or "",
        "reason": row.get("reason") or "",
    }


def _time(row: Mapping[str, Any]) -> str:
    return str(plain(row["announced_at"]))[:19]


def _fields(title: str | None, row: Mapping[str, Any] | None) -> None:
    if not row:
        return
    if title is not None:
        out.print(f"\n[bold]{title}[/bold]")
    width = max(map(len, row))
    for name, value in row.items():
        out.print(f"  {name:<{width}}  {escape(str(plain(value)) if value is not None else '')}")


def _list(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        out.print()
        print_table(title, [{name: escape(str(plain(value))) for name, value in row.items()} for row in rows])


def _inline(row: Mapping[str, Any]) -> str:
    return escape(", ".join(f"{name} {plain(value)}" for name, value in row.items() if value is not None))


def _without(row: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if name not in names}
