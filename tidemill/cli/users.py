"""`tidemill access user`: SCRAM users of the cluster. Passwords come from files and go to files, never to a screen."""

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidemill.cli.options import DEFAULT_BOOTSTRAP, AsJson, Bootstrap, home, out, print_json
from tidemill.schemas.errors import DeclarationError
from tidemill.streams.kafka.acls import Acls
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.private_file import write_private

app = typer.Typer(help="Users with a password (SCRAM-SHA-512).", no_args_is_help=True)
UserName = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
_SETTINGS = ("ssl.ca.location", "ssl.endpoint.identification.algorithm", "client.dns.lookup")


@app.command()
def add(
    name: UserName,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", help="The password is this file's first line; - is standard input."),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            help="Where the user's client settings are written; by default TIDEMILL_HOME/access/NAME.properties.",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give a user that is there another password.")] = False,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Make a user, with a random password or the one given; it may do nothing until it is given a role.

    The user's client settings, password included, are written to a file that only you can read: hand it to the user,
    who names it in TIDEMILL_KAFKA_CONFIG. The password is never printed.

    Examples:
        tidemill access user add gate
        tidemill access user add gate --replace --password-file - < password.txt

    """
    _require_name(name)
    password = secrets.token_urlsafe(24) if password_file is None else _given(password_file)
    target = credentials or home() / "access" / f"{name}.properties"
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    acls = Acls(connection)
    if not replace and name in acls.users():
        raise DeclarationError(f"user {name} is there already; --replace gives it another password")
    # The file first: a password that is in force and nowhere written would be lost.
    target.parent.mkdir(parents=True, exist_ok=True)
    write_private(target, _properties(connection, name, password))
    acls.set_password(name, password)
    if as_json:
        print_json({"user": name, "credentials": str(target)})
    else:
        out.print(f"user {name} can log in; its client settings: {target}")


@app.command()
def remove(name: UserName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Take a user's password away: it can open no new connection. Its ACLs stay; `access apply --prune` removes them.

    Example:
        tidemill access user remove gate

    """
    acls = Acls(Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP))
    if name not in acls.users():
        raise DeclarationError(f"there is no user {name} with a SCRAM-SHA-512 password")
    acls.remove_user(name)
    print_json({"user": name, "removed": True}) if as_json else out.print(f"user {name} can no longer log in")


@app.command("list")
def list_users(bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """List the users that have a SCRAM-SHA-512 password.

    Example:
        tidemill access user list

    """
    found = Acls(Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)).users()
    print_json(found) if as_json else out.print("\n".join(found) or "there are no users")


def _given(path: Path) -> str:
    try:
        text = sys.stdin.readline() if str(path) == "-" else path.read_text()
    except OSError as error:
        raise DeclarationError(f"--password-file: {path} cannot be read: {error.strerror}") from None
    password = (text.splitlines() or [""])[0]
    if len(password) < 8 or password.strip() != password:
        raise DeclarationError(
            "--password-file: expected at least 8 characters on the first line, without blanks around them"
        )
    return password


def _require_name(name: str) -> None:
    if not name or "/" in name or name.strip() != name or name == "*" or name.startswith("."):
        raise DeclarationError(f"user {name!r}: expected a name without blanks around it and without /, such as gate")


def _properties(connection: Connection, user: str, password: str) -> str:
    """The administrator's own way to the cluster, with the other user's name and password."""
    protocol = connection.settings.get("security.protocol", "SASL_PLAINTEXT")
    kept = {name: connection.settings[name] for name in _SETTINGS if name in connection.settings}
    made = {
        "bootstrap.servers": connection.bootstrap_servers,
        "security.protocol": protocol,
        **kept,
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }
    return "".join(f"{name}={value}\n" for name, value in made.items())
