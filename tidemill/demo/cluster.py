"""What the demo starts, and ends again whatever happens: a broker with an empty disk, workers, control, jobs."""

import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tidemill.cli.broker import start_with_progress
from tidemill.cli.processes import notes_folder, start_workers, worker_groups
from tidemill.schemas.errors import BrokerError, StreamError
from tidemill.streams.broker import EmbeddedBroker
from tidemill.streams.control_state import next_profile
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import Plan
from tidemill.streams.profile_log import PROFILES

Check = Callable[[], None]
_TAIL = 32
_SECONDS_TO_END = 60.0
STATE = "control"


@dataclass(frozen=True)
class Part:
    """Something that runs: the check raises when it has ended, and it can be asked to end without waiting for that."""

    check: Check
    leave: Callable[[], None]


@contextmanager
def embedded_broker(folder: Path, jars: Path) -> Iterator[tuple[Connection, Check]]:
    """A broker of its own on free ports; the check raises when it has died."""
    shutil.rmtree(folder, ignore_errors=True)
    broker = EmbeddedBroker(folder, port=0, jars=jars)

    def check() -> None:
        if not broker.running():
            raise BrokerError(f"the broker has died; its log is in {folder}")

    try:
        start_with_progress(broker)
        yield Connection(broker.bootstrap_servers), check
    finally:
        broker.stop()


@contextmanager
def running_workers(reference: str, plan: Plan, connection: Connection, stages: str, workers: int) -> Iterator[Part]:
    """The workers under a supervisor's watch; the check raises what ended it."""
    groups = worker_groups(plan, stages)
    for note in notes_folder(plan.name).glob("*.json"):
        note.unlink()
    supervisor = start_workers(reference, plan, connection, groups=groups, workers=workers, log_level="WARNING")
    stop, failure = threading.Event(), []

    def watch() -> None:
        try:
            supervisor.run(stop.is_set)
        except BaseException as error:  # noqa: BLE001 - raised again by the check, on the thread that waits
            failure.append(error)

    def check() -> None:
        if failure:
            raise failure[0]

    thread = threading.Thread(target=watch, name="supervisor")
    thread.start()
    try:
        yield Part(check, stop.set)
    finally:
        stop.set()
        thread.join()


def running_control(reference: str, connection: Connection) -> AbstractContextManager[Part]:
    """`tidemill control` as a process of its own; the check raises when it has ended."""
    return _running("the control plane", ["control", reference, "--metrics-port", "0"], connection)


def running_jobs(reference: str, connection: Connection, folder: Path) -> AbstractContextManager[Part]:
    """`tidemill jobs run` as a process of its own, with an archive in this folder; the check raises as above.

    At its end it still writes down in MLflow what jobs have left.
    """
    return _running(
        "the job runner", ["jobs", "run", reference, "--archive", str(folder), "--ahead", "--minutes", "10"], connection
    )


@contextmanager
def _running(what: str, arguments: list[str], connection: Connection) -> Iterator[Part]:
    command = [sys.executable, "-m", "tidemill", *arguments, "--log-level", "WARNING"]
    with subprocess.Popen([*command, "--bootstrap-servers", connection.bootstrap_servers]) as process:

        def check() -> None:
            if process.poll() is not None:
                raise StreamError(f"{what} ended with {process.returncode}; see its messages above")

        try:
            yield Part(check, process.terminate)
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()


def group_has_read(connection: Connection, group: str, topic: str) -> bool:
    """Whether a group has given back all that is committed on a topic."""
    with closing(KafkaReader(connection, group)) as reader:
        return all(
            (reader.committed(topic, partition) or 0) > _last(reader, topic, partition)
            for partition in reader.partitions(topic)
        )


def control_has_read(connection: Connection, name: str) -> bool:
    """Whether all profiles are in the state of the control plane."""
    with closing(KafkaReader(connection)) as reader:
        entries = {record.key: record.value for record in reader.read(f"{name}.{STATE}", 0)}
        return next_profile(entries) > _last(reader, f"{name}.{PROFILES}", 0)


def _last(reader: KafkaReader, topic: str, partition: int) -> int:
    """The last message's offset: behind it there may be what transactions leave; -1 if there is none."""
    end = reader.end(topic, partition)
    return max((record.offset for record in reader.read(topic, partition, max(0, end - _TAIL), end)), default=-1)


def worker_figures(name: str) -> tuple[int, float]:
    """From the workers' metrics: how many offsets they are behind, and the mean milliseconds that a batch takes."""
    lag, seconds, batches = 0.0, 0.0, 0.0
    for note in notes_folder(name).glob("*.json"):
        try:
            with urllib.request.urlopen(
                f"http://{json.loads(note.read_text())['metrics']}/metrics", timeout=1
            ) as answer:
                text = answer.read().decode()
        except OSError:
            continue  # a worker that has not started yet, or starts again
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "tidemill_consumer_lag":
                    lag += sample.value
                elif sample.name in ("tidemill_prepare_seconds_sum", "tidemill_commit_seconds_sum"):
                    seconds += sample.value
                elif sample.name == "tidemill_commit_seconds_count":
                    batches += sample.value
    return int(lag), 1000 * seconds / batches if batches else 0.0
