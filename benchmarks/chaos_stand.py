"""One pipeline under attack: its workers, started as users do, its traffic, and what a fault may lay hands on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import chaos_job
import psutil
from chaos_traffic import Traffic, milliseconds

from tidemill.cli.processes import prepare_cluster
from tidemill.processors.online_inference import dump_model
from tidemill.streams.broker import EmbeddedBroker
from tidemill.streams.kafka.admin import describe_group
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.models import announce
from tidemill.streams.rollout_log import RolloutLog

JOB = Path(chaos_job.__file__)
READY_SECONDS = 120


def wait_until(holds: Callable[[], bool], what: str, seconds: float) -> None:
    """Raises RuntimeError if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s until {what}")
        time.sleep(0.05)


class Stand:
    """A pipeline of its own on the broker; a context manager that ends all that it started."""

    def __init__(
        self, broker: EmbeddedBroker, folder: Path, name: str, chance: random.Random, options: Namespace
    ) -> None:
        self.broker, self.folder, self.chance = broker, folder, chance
        self.count, self._rate = options.workers, options.rate
        self.connection = Connection(broker.bootstrap_servers)
        self.pipeline = chaos_job.declare(name)
        self.name, self.plan = name, self.pipeline.plan()
        self.max_batch = chance.choice([50, 200, 1_000])
        folder.mkdir(parents=True)
        self._supervisors: list[subprocess.Popen[bytes]] = []
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._trusted = ""
        self._traffic: Traffic | None = None

    def __enter__(self) -> Self:
        prepare_cluster(self.plan, self.connection)
        model = self.pipeline.model
        assert model is not None
        frame = chaos_job.events(0, 10).select(["amount", "items"]).to_pandas()
        artefact = dump_model(model.estimator.fit(frame, [False, True] * 5))
        event = {
            "estimator": "Moody",
            "features": list(model.features),
            "classes": [str(label) for label in self.plan.target.classes],
            "trained_from": None,
            "trained_until": None,
            "training_offsets": [],
            "training_rows": 0,
            "evaluation_rows": 0,
            "metrics": {},
        }
        rollouts = RolloutLog(self.plan, self.connection)
        announce(self.plan, artefact, event, datetime.now(UTC), Publisher(self.connection), rollouts)
        self._trusted = artefact.sha256
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._supervisors:
            self.end(process, kill=True)
        if self._traffic is not None:
            self._traffic.close()

    @property
    def traffic(self) -> Traffic:
        """What goes in and comes out, once it was started."""
        assert self._traffic is not None
        return self._traffic

    def run(self, workers: int, home: str = "home") -> subprocess.Popen[bytes]:
        """`tidemill run`; what it says is in the file `log` of the run's folder."""
        command = [sys.executable, "-m", "tidemill", "run", str(JOB), "--workers", str(workers)]
        command += ["--bootstrap-servers", self.connection.bootstrap_servers, "--metrics-port", "0"]
        command += ["--max-batch", str(self.max_batch), "--trust-model", self._trusted]
        own = {"CHAOS_NAME": self.name, "CHAOS_FOLDER": str(self.folder), "TIDEMILL_HOME": str(self.folder / home)}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | own, cwd=self.folder, start_new_session=True
            )
        self._supervisors.append(process)
        return process

    @property
    def supervisor(self) -> subprocess.Popen[bytes]:
        """That of the workers; one that has given up is started again, as an operator would."""
        if self._supervisor is None or self._supervisor.poll() is not None:
            self._supervisor = self.run(self.count)
        return self._supervisor

    def start(self) -> None:
        """All workers run and share the partitions, and traffic flows through each of these."""
        assert self.supervisor
        self.wait_for_members(self.count)
        if self._traffic is None:
            self._traffic = Traffic(self.connection, self.plan, self._rate, first=self.chance.randrange(10**9))
        self.traffic.flow()
        self.wait_for_recovery(milliseconds(), READY_SECONDS)

    def wait_for_members(self, count: int) -> None:
        """Until the group is stable and has so many members."""

        def settled() -> bool:
            found = describe_group(self.connection, f"{self.name}.sanity_check")
            return found.state == "STABLE" and len(found.members) == count

        wait_until(settled, f"{self.name} has {count} workers", READY_SECONDS)

    def wait_for_recovery(self, since: int, seconds: float) -> float:
        """Seconds from then until each partition had answered an event that was sent later."""

        def flows() -> bool:
            self.traffic.check()
            return self.traffic.recovered(since) is not None

        wait_until(flows, "each partition answers new events again", seconds)
        return self.traffic.recovered(since) or 0.0

    def wait_for_answers(self, seconds: float) -> None:
        """Until there are as many answers as events, or the time is up: the audit says what is missing."""
        deadline = time.monotonic() + seconds
        while self.traffic.answered < self.traffic.sent and time.monotonic() < deadline:
            self.traffic.check()
            time.sleep(0.05)

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes that live now."""
        return self._workers(self.supervisor)

    @staticmethod
    def _workers(supervisor: subprocess.Popen[bytes]) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [p for p in psutil.Process(supervisor.pid).children() if p.status() != psutil.STATUS_ZOMBIE]
        return []

    def a_worker(self) -> psutil.Process:
        """One of them by chance."""
        wait_until(lambda: bool(self.workers), "there is a worker", READY_SECONDS)
        return self.chance.choice(self.workers)

    def tell(self) -> None:
        """Have the workers write to the log where they are."""
        for worker in self.workers:
            worker.send_signal(signal.SIGUSR1)
        time.sleep(1)

    def end(self, supervisor: subprocess.Popen[bytes], *, kill: bool = False) -> None:
        """Have it end in good order, or by force with its workers."""
        if kill:
            for worker in self._workers(supervisor):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            supervisor.kill()
        else:
            supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(60)

    def log(self) -> str:
        """Everything that the processes have said."""
        return (self.folder / "log").read_text(errors="replace")
