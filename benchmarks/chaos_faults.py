"""The faults. Each is done to a stand that is under way, and returns since when the system is to recover."""

import contextlib
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from chaos_job import DEADLINE_SECONDS
from chaos_model import MOOD
from chaos_stand import Stand, wait_until
from chaos_strike import STEPS, arm
from chaos_traffic import milliseconds
from confluent_kafka import Consumer

SESSION_SECONDS = 6


@dataclass(frozen=True)
class Fault:
    """`strike` returns the time from which recovery counts, in epoch milliseconds, and what is worth a note.

    What strikes at once counts from then; what holds everything up for a while, from its end.
    """

    name: str
    strike: Callable[[Stand], tuple[int, str]]


def kill_in_step(step: str, stand: Stand) -> tuple[int, str]:
    """kill -9 of the first worker that passes a step of the commit for the n-th time."""
    passes = stand.chance.randint(1, 12)
    struck = stand.folder / "struck"
    struck.unlink(missing_ok=True)
    arm(stand.folder, step, passes)
    wait_until(struck.exists, f"a worker dies after {step}", 60)
    return int(struck.stat().st_ctime * 1000), f"pass {passes}"


def kill_all_workers(stand: Stand) -> tuple[int, str]:
    """kill -9 of all workers at once."""
    workers = stand.workers
    since = milliseconds()
    for worker in workers:
        worker.kill()
    return since, f"{len(workers)} workers"


def kill_broker(stand: Stand) -> tuple[int, str]:
    """kill -9 of the broker, which is started again at once."""
    since = milliseconds()
    stand.broker.kill()
    stand.broker.start()
    return since, f"broker back after {(milliseconds() - since) / 1000:.1f} s"


def zombie(stand: Stand) -> tuple[int, str]:
    """A worker stands still for longer than its group waits, and then goes on as if nothing had happened."""
    worker = stand.a_worker()
    since = milliseconds()
    worker.send_signal(signal.SIGSTOP)
    try:
        recovered = stand.wait_for_recovery(since, 60)
        time.sleep(max(0.0, 2 * SESSION_SECONDS - recovered))
    finally:
        worker.send_signal(signal.SIGCONT)
    stopped = (milliseconds() - since) / 1000
    stand.wait_for_members(stand.count)
    return since, f"stood still for {stopped:.0f} s"


def rebalance_storm(stand: Stand) -> tuple[int, str]:
    """Members come and go every second, and two more workers come and go meanwhile."""
    more = stand.run(2, home="more")
    group, until, turns = f"{stand.name}.sanity_check", time.monotonic() + 12, 0
    while time.monotonic() < until:
        passing = Consumer(
            stand.connection.client(
                group_id=group,
                partition_assignment_strategy="cooperative-sticky",
                enable_auto_commit=False,
                session_timeout_ms=SESSION_SECONDS * 1000,
            )
        )
        passing.subscribe([stand.plan.topic("events")])
        leave = time.monotonic() + 1
        while time.monotonic() < leave:
            passing.poll(0.1)
        passing.close()
        turns += 1
    stand.end(more)
    return milliseconds(), f"{turns} members came and went"


def broker_unreachable(seconds: float, stand: Stand) -> tuple[int, str]:
    """The broker's process stands still: connections stay open, nothing is answered."""
    pid = stand.broker.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    return milliseconds(), f"away for {seconds:.0f} s"


def moody_model(mood: dict[str, object], stand: Stand) -> tuple[int, str]:
    """The model is slow, or hangs, for some times its deadline; the partitions must go on meanwhile."""
    file = stand.folder / MOOD.name
    started = milliseconds()
    (stand.folder / "next").write_text(json.dumps(mood))
    (stand.folder / "next").rename(file)
    time.sleep(2 * DEADLINE_SECONDS)
    answered = stand.traffic.answered
    time.sleep(2 * DEADLINE_SECONDS)
    moved = stand.traffic.answered - answered
    file.unlink()
    if not moved:
        raise RuntimeError("a partition was stuck while the model was in its mood")
    return milliseconds(), f"for {(milliseconds() - started) / 1000:.0f} s, {moved} answers in the second half"


def memory_limit(stand: Stand) -> tuple[int, str]:
    """A worker may have no more memory than it has: allocations fail. Where there are no such limits, kill -9."""
    worker = stand.a_worker()
    since = milliseconds()
    if not hasattr(resource, "prlimit"):
        worker.kill()
        return since, "killed, as the kernel does"
    limit = worker.memory_info().vms
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, limit))
    # With what it has allocated it may get along for long: then the kernel's way.
    with contextlib.suppress(RuntimeError):
        wait_until(lambda: not worker.is_running() or worker.status() == "zombie", "the worker is out of memory", 10)
        return since, f"RLIMIT_AS {limit / 1e9:.1f} GB"
    since = milliseconds()
    worker.kill()
    return since, "lived on under RLIMIT_AS for 10 s, then killed"


def full_disk(stand: Stand) -> tuple[int, str]:
    """No worker can write a snapshot, as on a full disk; when one has tried, all die and have none to start from."""
    for worker in stand.workers:
        # What they say goes on being written, to the one file that they all append to.
        limit = (stand.folder / "log").stat().st_size + 8 * 1024
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (limit, limit))
    wait_until(lambda: "was not written" in stand.log(), "a snapshot could not be written", 120)
    answered = stand.traffic.answered
    wait_until(lambda: stand.traffic.answered > answered, "events are answered without snapshots", 60)
    return kill_all_workers(stand)


def random_kills(seconds: float, stand: Stand) -> tuple[int, str]:
    """kill -9 of workers at random moments."""
    until, kills, since = time.monotonic() + seconds, 0, milliseconds()
    stopped = threading.Event()
    while time.monotonic() < until:
        stopped.wait(stand.chance.uniform(0.2, 6))
        worker = stand.a_worker()
        since = milliseconds()
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
            kills += 1
    return since, f"{kills} kills in {seconds:.0f} s, at most {stand.max_batch} events a transaction"


def all_faults(away_seconds: float) -> list[Fault]:
    """In the order in which they are tried."""
    return [
        *(Fault(f"kill-9-after-{step.replace('_', '-')}", partial(kill_in_step, step)) for step in STEPS),
        Fault("kill-9-all-workers", kill_all_workers),
        Fault("kill-9-broker", kill_broker),
        Fault("zombie-worker", zombie),
        Fault("rebalance-storm", rebalance_storm),
        Fault("broker-unreachable", partial(broker_unreachable, away_seconds)),
        Fault("slow-model", partial(moody_model, {"seconds": 0.3})),
        Fault("hanging-model", partial(moody_model, {"hang": True})),
        Fault("memory-limit", memory_limit),
        *([Fault("full-disk", full_disk)] if hasattr(resource, "prlimit") else []),
    ]
