"""`tidemill broker`: an Apache Kafka on this machine."""

from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tidemill.cli.options import AsJson, err, home, out, print_json
from tidemill.streams.broker import BrokerStatus, EmbeddedBroker
from tidemill.streams.broker.embedded import DEFAULT_PORT

app = typer.Typer(
    help="Run an Apache Kafka of one node on this machine, its data under TIDEMILL_HOME (.tidemill by default).",
    no_args_is_help=True,
)


@app.command()
def start(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where clients connect; 0 picks a free port.")
    ] = DEFAULT_PORT,
    secure: Annotated[
        bool,
        typer.Option(
            "--secure", help="Passwords (SCRAM-SHA-512) and ACLs from the first start on; not for data without."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the broker and wait until it serves. It runs on in the background; one that runs already is left as it is.

    The first start downloads Kafka's jars (44 MB) and checks them against pinned hashes, as does every start.

    With `--secure` the superuser's client settings are written to a file that only you can read; name it in
    TIDEMILL_KAFKA_CONFIG, and give everyone else a user of their own (`tidemill access`).

    For example:

        tidemill broker start
        tidemill broker start --port 19092
        tidemill broker start --secure
        TIDEMILL_HOME=/data/second tidemill broker start --port 0 --json
    """
    broker = EmbeddedBroker(home(), port, secure=secure)
    before = broker.status()
    status = start_with_progress(broker)
    _report(status, as_json, "is running already" if before.pid == status.pid else "is ready")


@app.command()
def stop(as_json: AsJson = False) -> None:
    """Stop the broker in good order; what it holds is there at the next start. Stopping a stopped one is no error.

    For example:

        tidemill broker stop
    """
    broker = EmbeddedBroker(home())
    stopped = broker.stop()
    if as_json:
        print_json(broker.status())
    else:
        out.print("Apache Kafka is stopped" if stopped else "Apache Kafka was not running")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether the broker runs, and where; exits with 0 if it does, else with 1.

    For example:

        tidemill broker status
        tidemill broker status --json || tidemill broker start
    """
    now = EmbeddedBroker(home()).status()
    _report(now, as_json, "is running")
    raise typer.Exit(0 if now.running else 1)


def start_with_progress(broker: EmbeddedBroker) -> BrokerStatus:
    """Start a broker with a progress bar on standard error, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        return broker.start(show)


def _report(status: BrokerStatus, as_json: bool, state: str) -> None:
    if as_json:
        print_json(status)
        return
    size = f"{status.data_bytes / 1e6:,.1f} MB of data in {status.root / 'kafka'}"
    if status.running:
        out.print(f"Apache Kafka {status.version} {state}: {status.bootstrap_servers} (process {status.pid}, {size})")
        if status.credentials is not None:
            out.print(f"It asks for passwords. As its superuser: export TIDEMILL_KAFKA_CONFIG={status.credentials}")
    else:
        out.print(f"Apache Kafka is not running ({size})")
