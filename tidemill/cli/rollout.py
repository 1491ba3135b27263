"""`tidemill models promote|rollback|retire|at` and `tidemill verify`: moving models, and looking at how they moved."""

import getpass
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Any

import typer

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, err, moment, out, plain, print_json
from tidemill.processors.rollout.state import Rollout
from tidemill.schemas.errors import DeclarationError, ModelError

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The model's version, as predictions name it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the log later.")]
Events = list[dict[str, Any]]


def add_to(models: typer.Typer) -> None:
    """Add the commands below `tidemill models`."""
    for command in (promote, rollback, retire, at):
        models.command()(command)


def promote(
    pipeline: PipelineName,
    version: Version,
    canary: Annotated[
        float | None,
        typer.Option("--canary", metavar="SHARE", help="As a canary first, which answers this share of the keys."),
    ] = None,
    probation: Annotated[
        bool,
        typer.Option(
            "--probation/--no-probation",
            help="Keep the champion of before as a shadow, to be compared and gone back to.",
        ),
    ] = True,
    reason: Reason = "",
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Make a model champion, or a canary: workers follow from their next transaction on.

    On probation, and if the pipeline declares a rollout, `tidemill control` goes back by itself if it does worse. What
    the gates refused cannot be promoted.

    Examples:
        tidemill models promote flights 3f1c0a9e7b52 --reason "better in January"
        tidemill models promote flights 3f1c0a9e7b52 --canary 0.05

    """
    from tidemill.processors.rollout.moves import to_canary, to_champion

    def made(rollout: Rollout) -> Events:
        if canary is not None:
            if not 0 < canary < 1:
                raise DeclarationError(f"--canary {canary}: expected a share of the keys between 0 and 1")
            return to_canary(rollout, version, canary, by=_who(), reason=reason)
        return to_champion(rollout, version, by=_who(), reason=reason, probation=probation)

    _move(pipeline, bootstrap_servers, made, as_json=as_json)


def rollback(
    pipeline: PipelineName, reason: Reason = "", bootstrap_servers: Bootstrap = None, as_json: AsJson = False
) -> None:
    """Undo the newest step: take the canary out of service, or, if there is none, go back to the former champion.

    Safe in the middle of traffic: workers follow between two transactions, and each event is answered once. Only a
    person can promote a model again that was rolled back.

    Example:
        tidemill models rollback flights --reason "refunds are up"

    """
    from tidemill.processors.rollout.moves import rolled_back

    _move(pipeline, bootstrap_servers, lambda r: rolled_back(r, by=_who(), reason=reason), as_json=as_json)


def retire(
    pipeline: PipelineName,
    version: Version,
    reason: Reason = "",
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Take a shadow or a canary out of service. A champion is retired by promoting another, or rolled back.

    Example:
        tidemill models retire flights 3f1c0a9e7b52

    """
    from tidemill.processors.rollout.moves import retired

    _move(pipeline, bootstrap_servers, lambda r: retired(r, version, by=_who(), reason=reason), as_json=as_json)


def at(
    pipeline: PipelineName,
    time: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601, UTC if it names no zone.")],
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Say which model served at a time, and which were beside it, from the verified rollout log.

    A worker follows the log between two transactions, a moment after the record; each prediction names its model.

    Example:
        tidemill models at flights 2013-02-01T06:00:00Z

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.rollout_log import RolloutLog

    when = moment(time)
    assert when is not None
    with client_for(pipeline, bootstrap_servers) as client:
        rollout = Rollout.of(RolloutLog(client.name, client.connection).read()).at(when)
    roles = {
        "champion": [rollout.champion] if rollout.champion else [],
        "canary": [rollout.canary] if rollout.canary else [],
        "shadow": list(rollout.shadows),
    }
    rows = [
        {"role": role, "version": s.version, "since": plain(s.at)[:19], "share": s.share, "reason": s.event["reason"]}
        for role, standings in roles.items()
        for s in standings
    ]
    if as_json:
        print_json({"pipeline": client.name, "at": when, "serving": rows})
        return
    if rollout.champion is None:
        out.print(f"at {plain(when)} no model was champion: the prior answered, if the pipeline declares one")
    for row in rows:
        share = f" for {row['share']:.0%} of the keys" if row["role"] == "canary" else ""
        said = f": {row['reason']}" if row["reason"] else ""
        out.print(f"[bold]{row['version']}[/bold] {row['role']}{share} since {row['since']}{said}")


def verify(pipeline: PipelineName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Check that the rollout log was not altered, and that each announced model's bytes are those that were announced.

    Exits with 1 and names the first broken link, and every artefact that is missing or altered.

    Example:
        tidemill verify flights

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.models import fetch_artefact
    from tidemill.streams.rollout_log import RolloutLog, chain_fault, model_events

    faults: list[str] = []
    with client_for(pipeline, bootstrap_servers) as client, closing(KafkaReader(client.connection)) as reader:
        records = RolloutLog(client.name, client.connection).records()
        fault = chain_fault(records)
        faults += [] if fault is None else [fault]
        events = [event for event in model_events(records) if event is not None]
        known = {(e["artefact_sha256"], e["artefact_offset"]): e for e in events}
        for event in known.values():
            try:
                artefact = fetch_artefact(f"{client.name}.model-artefacts", event, reader)
            except ModelError as error:
                faults.append(str(error))
                continue
            if artefact.sha256 != event["artefact_sha256"]:
                wanted = f"expected sha256 {event['artefact_sha256']}, got {artefact.sha256}"
                faults.append(f"model {event['model_version']}: {wanted}; its artefact was altered")
    if as_json:
        found = {"records": len(records), "artefacts": len(known), "faults": faults}
        print_json({"pipeline": client.name, "holds": not faults, **found})
    else:
        for said in faults:
            err.print(said)
        verdict = "holds" if not faults else "does NOT hold"
        out.print(f"the rollout log of {client.name} {verdict}: {len(records):,} records, {len(known):,} artefacts")
    raise typer.Exit(1 if faults else 0)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "a person"


def _move(pipeline: str, bootstrap_servers: str | None, make: Callable[[Rollout], Events], *, as_json: bool) -> None:
    """Append what is made of how the models stand, and say it."""
    from tidemill.cli.clients import client_for
    from tidemill.streams.rollout_log import RolloutLog

    with client_for(pipeline, bootstrap_servers) as client:
        log = RolloutLog(client.name, client.connection)
        rollout = log.rollout()
        written = log.append(make(rollout), expect=len(rollout.records))
    if as_json:
        print_json([brief(event) for event in written])
        return
    _print_moved(written)


def brief(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a record of the rollout log says of the move, without what it says of the model."""
    names = ("sequence", "model_version", "status", "share", "reason", "by", "announced_at")
    return {name: event[name] for name in names}


def _print_moved(events: Sequence[Mapping[str, Any]]) -> None:
    for event in events:
        share = f" for {event['share']:.0%} of the keys" if event["status"] == "canary" else ""
        said = f": {event['reason']}" if event["reason"] else ""
        out.print(f"[bold]{event['model_version']}[/bold] {event['status'].replace('_', ' ')}{share}{said}")
