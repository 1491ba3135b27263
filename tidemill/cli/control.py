"""`tidemill control`: the process that watches for drift."""

import logging
import time
from typing import Annotated

import typer

from tidemill.cli.options import DEFAULT_BOOTSTRAP, Bootstrap, PipelineFile
from tidemill.schemas.errors import DeclarationError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(control)


def control(
    pipeline: PipelineFile,
    bootstrap_servers: Bootstrap = None,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", help="Prometheus port, also of /live and /ready. 0: any free one.")
    ] = 9463,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", help="Address that the metrics are served on.")
    ] = "127.0.0.1",
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Watch a running pipeline for drift: merge the profiles of its windows, judge them, and write alerts.

    If the pipeline declares a rollout, challengers are judged too: promoted, refused, rolled back.

    One is at work at a time; a second one stands by and takes over when the first is gone. Ends on Ctrl-C or SIGTERM.
    It can be killed and started again at any moment: alerts keep their ids, and none is lost.

    Example:
        tidemill control flights.py

    """
    from tidemill.cli.run import log_to_stderr, stop_signal
    from tidemill.loading import load_pipeline
    from tidemill.processors.drift import Profile
    from tidemill.streams.access import CONTROL_TOPICS
    from tidemill.streams.control import ControlOptions, run_control
    from tidemill.streams.control_metrics import ControlMetrics
    from tidemill.streams.control_plane import ControlPlane
    from tidemill.streams.control_state import ControlState
    from tidemill.streams.health import Health, serve
    from tidemill.streams.kafka.admin import apply_topics
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.follower import Follower
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.plan import TRIGGER_PARTITIONS
    from tidemill.streams.profile_log import read_deltas
    from tidemill.streams.references import References
    from tidemill.streams.rollout_judge import judging
    from tidemill.streams.watch import make_state

    log_to_stderr("control", log_level)
    # What Faust and its client say at INFO is about their own parts starting and stopping.
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.DEBUG if log_level.upper() == "DEBUG" else logging.WARNING)
    # Nor is it news that a look at what is there takes longer than a second, when there is much to catch up with.
    logging.getLogger("mode.timers").setLevel(logging.ERROR)
    plan = load_pipeline(pipeline).plan()
    watch = plan.watch
    if watch is None and plan.rollout is None:
        raise DeclarationError(
            f"pipeline {plan.name} has nothing to watch: declare profiles=tm.Profiles(), and drift=[...] to choose"
            " what, or rollout=tm.Rollout()"
        )
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    own = {plan.topic(suffix) for suffix in CONTROL_TOPICS}
    apply_topics(connection, [spec for spec in plan.topics() if spec.name in own])
    stop, metrics, health = stop_signal(), ControlMetrics(), Health(time.monotonic)
    serve(metrics.registry, health, metrics_host, metrics_port)
    ends = health.watching(stop.is_set)
    if watch is None:
        # What it writes, it writes only once, however many do: nobody has to stand by.
        with judging(plan, connection, lambda: True, metrics.rollout):
            while not ends():
                health.beat()
                stop.wait(0.5)
        return
    reader = KafkaReader(connection)
    partitions = len(reader.partitions(plan.topic("events")))
    references = References(plan, Follower(connection, plan.topic("models")), reader)

    def make_fresh() -> ControlState[Profile]:
        return make_state(plan.name, watch, partitions, references, references.served)

    plane = ControlPlane(plan.name, make_fresh, read_deltas, metrics)
    options = ControlOptions(watch.idle_ms, watch.retrain is not None, TRIGGER_PARTITIONS, health.beat)
    with judging(plan, connection, lambda: plane.active, metrics.rollout):
        run_control(plan.name, connection, plane, options, ends)
