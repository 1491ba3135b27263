"""`tidemill alerts`: incidents, what people do about them, and who is told."""

import getpass
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tidemill.cli.options import (
    AsJson,
    Bootstrap,
    PipelineName,
    err,
    home,
    moment,
    out,
    print_json,
    print_table,
)
from tidemill.results import Alert
from tidemill.schemas.errors import DeclarationError


class _ShowsByDefault(TyperGroup):
    """`tidemill alerts flights` is `tidemill alerts show flights`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command that was left out."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShowsByDefault, help="Incidents: what drifts, since when, and who is told.", no_args_is_help=True
)
Identity = Annotated[str, typer.Argument(metavar="ID", help="The incident, by the id of its alerts.")]
Who = Annotated[str | None, typer.Option("--who", help="Who does it; by default the user of this machine.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the incident's alerts from then on.")]


@app.command()
def show(
    pipeline: PipelineName,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    muted: Annotated[bool, typer.Option("--muted", help="Muted ones as well.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Then wait, and print each change as it comes.")] = False,
    execute: Annotated[
        str | None,
        typer.Option("--exec", metavar="CMD", help="With --follow: run this command of the shell for each change."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="With --follow: stop after so many seconds without a change.")
    ] = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show incidents as they stand; `show` may be left out.

    A command of --exec gets the alert as JSON on its standard input, and its fields in the environment, as
    TIDEMILL_ALERT_STATE, TIDEMILL_ALERT_SEVERITY, TIDEMILL_ALERT_MESSAGE and so on. If it fails, that is said on
    standard error, and the next alert is waited for.

    Examples:
        tidemill alerts show flights --open
        tidemill alerts show flights --follow --exec 'mail -s "$TIDEMILL_ALERT_SUBJECT drifts" me@example.org'

    """
    from tidemill.cli.clients import client_for

    if not follow and (execute is not None or timeout is not None):
        raise DeclarationError("--exec and --timeout need --follow: without it nothing is waited for")
    with client_for(pipeline, bootstrap_servers) as client:
        # The subscription begins before the list is read: what comes in between is printed twice rather than never.
        coming = client.alerts(timeout=timeout, muted=muted) if follow else None
        found = client.incidents()
        found = [a for a in found if (not only_open or a.state != "resolved") and (muted or not a.muted)]
        if as_json:
            for alert in found:
                _print(alert, as_json=True)
        elif found:
            print_table(f"Incidents of {client.name}", [_row(alert) for alert in found])
        elif not follow:
            out.print(f"{client.name} has no {'open ' if only_open else ''}incidents")
        try:
            for alert in coming or ():
                _print(alert, as_json=as_json)
                _execute(execute, alert)
        except KeyboardInterrupt:
            err.print("stopped")
        finally:
            if coming is not None:
                coming.close()


@app.command()
def mute(
    pipeline: PipelineName,
    alert: Identity,
    until: Annotated[
        str | None,
        typer.Option("--until", help="Up to this event time, and however often it opens again; else while it lasts."),
    ] = None,
    reason: Reason = "",
    who: Who = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Have nobody told of an incident: its alerts are recorded, and marked as muted.

    Example:
        tidemill alerts mute flights 9bb5491cf625e8b4 --until 2013-03-01 --reason 'the winter storm'

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        client.mute(alert, who or getpass.getuser(), until=moment(until), reason=reason)
    out.print(f"muted {alert}")


@app.command()
def unmute(
    pipeline: PipelineName, alert: Identity, reason: Reason = "", who: Who = None, bootstrap_servers: Bootstrap = None
) -> None:
    """Have people told of an incident again.

    Example:
        tidemill alerts unmute flights 9bb5491cf625e8b4

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        client.unmute(alert, who or getpass.getuser(), reason=reason)
    out.print(f"unmuted {alert}")


@app.command()
def acknowledge(
    pipeline: PipelineName, alert: Identity, reason: Reason = "", who: Who = None, bootstrap_servers: Bootstrap = None
) -> None:
    """Say that you have taken an incident on: its alerts name you from then on.

    Example:
        tidemill alerts acknowledge flights 9bb5491cf625e8b4 --reason 'the new gate reports late'

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        client.acknowledge(alert, who or getpass.getuser(), reason=reason)
    out.print(f"acknowledged {alert}")


@app.command()
def webhook(
    pipeline: PipelineName,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where alerts are sent by POST, as JSON.")],
    secret_file: Annotated[
        Path, typer.Option("--secret-file", help="The file whose first line signs what is sent; 16 bytes or more.")
    ],
    position: Annotated[
        Path | None,
        typer.Option("--position", help="The file that holds what was delivered; by default under TIDEMILL_HOME."),
    ] = None,
    since: Annotated[str, typer.Option(help="Where the first start begins: `now`, or the `beginning`.")] = "now",
    timeout: Annotated[float | None, typer.Option(help="Stop after so many seconds without an alert.")] = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Send every alert to a URL, in order and at least once, until stopped; muted ones are left out.

    Signed as Standard Webhooks has it: webhook-signature is v1, a comma, and the HMAC-SHA256 of webhook-id, a dot,
    webhook-timestamp, a dot, and the body, in base64. What is delivered twice has the same webhook-id. While the
    receiver does not answer with 2xx it is asked again, after pauses of a second to five minutes.

    Example:
        tidemill alerts webhook flights https://example.org/alerts --secret-file hook.secret

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.webhook import Position, Webhook, deliver_all, read_secret

    hook = Webhook(url, read_secret(secret_file), time.time, time.sleep)
    if since not in ("now", "beginning"):
        raise DeclarationError(f"--since: expected now or beginning, got {since!r}")
    with client_for(pipeline, bootstrap_servers) as client:
        name = hashlib.sha256(f"{client.name} {url}".encode()).hexdigest()[:12]
        place = Position(position or home() / "webhooks" / f"{client.name}-{name}.json")
        topic, reader = f"{client.name}.drift-alerts", KafkaReader(client.connection)
        start = place.read()
        if start is None:
            start = reader.end(topic, 0) if since == "now" else 0
            place.write(start)
        reader.close()
        try:
            delivered = deliver_all(hook, _followed(client.connection, topic, start, timeout), place)
        except KeyboardInterrupt:
            err.print("stopped")
            return
    out.print(f"delivered {delivered:,} alerts")


def _followed(connection: Any, topic: str, start: int, timeout: float | None) -> Iterator[tuple[int, Alert | None]]:
    from tidemill.streams.alerts import decode_alerts
    from tidemill.streams.kafka.follower import Follower

    follower, quiet = Follower(connection, topic), time.monotonic()
    follower.next_offset = start
    try:
        while timeout is None or time.monotonic() - quiet < timeout:
            for record in follower.poll():
                quiet = time.monotonic()
                rows = decode_alerts([record.value])
                yield record.offset, Alert(**rows[0]) if rows else None
            time.sleep(0.1)
    finally:
        follower.close()


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "state": f"{alert.state} (muted)" if alert.muted else alert.state,
        "severity": alert.severity,
        "kind": alert.kind,
        "subject": alert.subject,
        "slice": alert.slice,
        "opened": str(alert.opened_at)[:19],
        "updated": str(alert.updated_at)[:19],
        "taken by": alert.acknowledged_by or "",
        "message": alert.message,
    }


def _print(alert: Alert, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(alert))
        return
    where = f" at {alert.slice}" if alert.slice else ""
    out.print(
        f"{str(alert.updated_at)[:19]}  {alert.id}  {alert.state}  {alert.severity}  {alert.kind} of"
        f" {alert.subject}{where}: {alert.message}",
        markup=False,
    )


def _execute(command: str | None, alert: Alert) -> None:
    from tidemill.reactions import run_command

    problem = None if command is None else run_command(command, alert, os.environ)
    if problem is not None:
        err.print(f"the command for {alert.delivery_id} failed: {problem}", markup=False)
