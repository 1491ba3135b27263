"""`tidemill learn`: the process that learns in the stream."""

import logging
import sys
import threading
from typing import Annotated

import typer

from tidemill.cli.options import DEFAULT_BOOTSTRAP, Bootstrap, PipelineFile, RegistryUrl
from tidemill.cli.run import LogLevel, Trusted
from tidemill.schemas.errors import Fenced, StreamError

Force = Annotated[
    bool, typer.Option("--force", help="Publish versions even if they are no better than the best constant answer.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(learn)
    app.command(hidden=True)(learner)


def learn(
    pipeline: PipelineFile,
    force: Force = False,
    trust_model: Trusted = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    log_level: LogLevel = "INFO",
) -> None:
    """Learn in the stream: the declared River model learns each outcome, and versions of it are published.

    It can be killed and started again at any moment: it goes on from the last published version, and makes the same
    ones. A second one takes over from the first. Ends on Ctrl-C or SIGTERM.

    Example:
        tidemill learn flights.py

    """
    from tidemill.cli.run import log_to_stderr, stop_signal
    from tidemill.learning import learning_model
    from tidemill.loading import load_pipeline
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.supervisor import Supervisor

    log_to_stderr("supervisor", log_level)
    learning_model(load_pipeline(pipeline))
    stop = stop_signal()
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    command = [sys.executable, "-m", "tidemill", "learner", pipeline]
    command += ["--bootstrap-servers", connection.bootstrap_servers, "--log-level", log_level]
    command += [*(["--force"] if force else []), *(a for sha in trust_model or [] for a in ("--trust-model", sha))]
    # River's models hold sets, whose order on disk and in sums is that of the hashes of their text.
    environment = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    registry = {"TIDEMILL_REGISTRY_URL": registry_url} if registry_url else {}
    Supervisor([command], environment | registry).run(stop.is_set)


def learner(
    pipeline: PipelineFile,
    force: Force = False,
    trust_model: Trusted = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    log_level: LogLevel = "INFO",
) -> None:
    """One learner process; it stops when its standard input closes."""
    from tidemill.cli.run import log_to_stderr, stop_signal, stop_with_parent
    from tidemill.learning import open_learner
    from tidemill.loading import load_pipeline
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.registry import open_registry
    from tidemill.streams.supervisor import FAILED

    log_to_stderr("learner", log_level)
    stop = stop_signal()
    threading.Thread(target=stop_with_parent, args=(stop,), daemon=True).start()
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    try:
        with open_registry(registry_url) as registry:
            made = open_learner(
                load_pipeline(pipeline), connection, registry=registry, force=force, trusted=trust_model or ()
            )
            made.run(stop.is_set, stop.wait)
    except Fenced:
        logging.getLogger(__name__).error("another learner of this pipeline has taken over; this one ends")
        raise typer.Exit(2) from None
    except StreamError as error:
        logging.getLogger(__name__).error("%s", error)
        raise typer.Exit(FAILED) from None
