"""`tidemill mlflow`."""

import os
from typing import Annotated

import typer

from tidemill.cli.options import err, out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mlflow)


def mlflow(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the pages are served.")] = 5000,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the command that does it.")] = False,
) -> None:
    """Show the runs of training jobs in the browser: MLflow's own pages, on this machine only.

    They are read where training jobs wrote them: from MLFLOW_TRACKING_URI, else from the SQLite file below
    `.tidemill`. Nothing is sent to anybody. A server of your own has its pages already.

    Example:
        tidemill mlflow --port 5001

    """
    from tidemill.schemas.errors import StreamError
    from tidemill.streams.tracking import home, quiet_environment, store_uri, ui_command

    where = store_uri()
    if where.startswith(("http://", "https://")):
        raise StreamError("MLFLOW_TRACKING_URI names a server, whose pages are at its own address; open that")
    command = ui_command(where, port=port)
    if only_print:
        out.print(" ".join(command), markup=False, soft_wrap=True)
        return
    if where.startswith("sqlite:///") and not home().is_dir():
        raise StreamError(f"there are no runs yet in {home()}; a training job writes the first")
    err.print(f"http://127.0.0.1:{port} (end with Ctrl-C)")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        # MLflow may leave files where it is started.
        os.chdir(home())
    # In the place of this process, so that what ends it ends the server.
    os.execve(command[0], command, quiet_environment())  # noqa: S606
