"""`tidemill access`: users, and what they may do on the cluster."""

from typing import Annotated

import typer

from tidemill.cli.options import DEFAULT_BOOTSTRAP, AsJson, Bootstrap, PipelineFile, out, print_json, print_table
from tidemill.cli.users import app as users
from tidemill.pipeline import Pipeline
from tidemill.schemas.errors import DeclarationError
from tidemill.streams.access import ROLES, Grant, concerns, declared_grants, grants
from tidemill.streams.kafka.acls import Acls
from tidemill.streams.kafka.connection import Connection

app = typer.Typer(help="Users of a cluster, and what the roles of a pipeline may do on it.", no_args_is_help=True)
app.add_typer(users, name="user")


@app.command()
def apply(
    pipeline: PipelineFile,
    role: Annotated[
        str | None, typer.Option("--role", help=f"Of this role only, for the --user given: {', '.join(ROLES)}.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Give the --role to this user, whatever the declaration says.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove what ACLs on this pipeline's resources nobody declared.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Write the ACLs that the declared users need for their roles; what is there already is left as it is.

    The users are those of `access=tm.Access(...)` in the declaration, or one by --role and --user. Returns when the
    cluster knows the new ACLs. Needs a user who may alter the cluster: the superuser, or an operator.

    Examples:
        tidemill access apply flights.py --dry-run
        tidemill access apply flights.py --prune
        tidemill access apply flights.py --role subscriber --user board

    """
    from tidemill.loading import load_pipeline

    if (role is None) != (user is None):
        raise DeclarationError("--role and --user belong together: expected both or neither")
    if role is not None and prune:
        raise DeclarationError("--prune removes what is not declared, so it cannot be used with --role and --user")
    declared = load_pipeline(pipeline)
    acls = Acls(Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP))
    wanted = grants(declared.plan(), role, user) if role is not None and user is not None else _declared(declared)
    present = acls.grants()
    missing = sorted(wanted - present)
    surplus = sorted(g for g in present - wanted if concerns(declared.plan(), g)) if prune else []
    if not dry_run:
        acls.add(missing)
        acls.remove(surplus)
    rows = [_row(grant, "missing" if dry_run else "added") for grant in missing]
    rows += [_row(grant, "surplus" if dry_run else "removed") for grant in surplus]
    kept = len(wanted) - len(missing)
    if as_json:
        print_json({"pipeline": declared.name, "dry_run": dry_run, "unchanged": kept, "changes": rows})
        return
    if rows:
        print_table(f"Access to {declared.name}", rows)
    out.print(f"{len(rows)} {'to change' if dry_run else 'changed'}, {kept} unchanged")


@app.command()
def show(pipeline: PipelineFile, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show the ACLs that are declared, and those on the pipeline's resources that nobody declared.

    `present` is declared and there, `missing` declared only, `surplus` there only.

    Example:
        tidemill access show flights.py

    """
    from tidemill.loading import load_pipeline

    declared = load_pipeline(pipeline)
    wanted = _declared(declared, require=False)
    present = Acls(Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)).grants()
    surplus = {grant for grant in present - wanted if concerns(declared.plan(), grant)}
    rows = [
        _row(grant, "surplus" if grant in surplus else "present" if grant in present else "missing")
        for grant in sorted(wanted | surplus)
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(f"Access to {declared.name}", rows)
    else:
        out.print(f"pipeline {declared.name} declares no access, and no ACL names its resources")


def _declared(pipeline: Pipeline, *, require: bool = True) -> set[Grant]:
    found = declared_grants(pipeline.plan(), pipeline.access.users())
    if require and not found:
        raise DeclarationError(
            f"pipeline {pipeline.name} declares no access: add access=tm.Access(producer=[...], ...), or name one by"
            " --role and --user"
        )
    return found


def _row(grant: Grant, state: str) -> dict[str, str]:
    return {
        "user": grant.user,
        "operation": grant.operation,
        "resource": grant.resource,
        "name": grant.name,
        "pattern": "prefixed" if grant.prefixed else "literal",
        "state": state,
    }
