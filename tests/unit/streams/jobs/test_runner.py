"""The job runner: what it writes, in which order, and what it leaves to others."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest

from tidemill.processors.retraining import Trigger
from tidemill.schemas.errors import CommitAborted
from tidemill.streams.jobs import JobLog, JobRunner, RunnerOptions
from tidemill.streams.jobs.launcher import Told
from tidemill.streams.jobs.status import ENDED, NEXT
from tidemill.streams.ports import LogRecord, Records
from tidemill.streams.retraining import decode_jobs, encode_trigger, trigger_row

NOW = datetime(2013, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A log of triggers, the jobs' log, and who writes to it."""

    triggers: list = field(default_factory=list)
    read: int = 0
    written: list = field(default_factory=list)
    offsets: dict = field(default_factory=dict)
    aborts: list = field(default_factory=list)
    launched: list = field(default_factory=list)
    published: list = field(default_factory=list)
    cancelled: set = field(default_factory=set)
    seconds: float = 0.0
    told: list = field(default_factory=list)
    ended: list = field(default_factory=list)

    # As a source
    def poll(self, most, timeout):
        fresh, self.read = self.triggers[self.read : self.read + most], min(len(self.triggers), self.read + most)
        partition = np.array([p for p, _, _ in fresh], np.int32)
        offset = np.array([o for _, o, _ in fresh], np.int64)
        none = [None] * len(fresh)
        return Records(partition, offset, offset, none, [value for _, _, value in fresh], none)

    # As a committer
    def commit(self, prepared):
        if self.aborts and self.aborts.pop(0):
            raise CommitAborted("a rebalance")
        for output in prepared.outputs:
            for key, value in zip(output.keys, output.values, strict=True):
                self.written.append(LogRecord(0, len(self.written), 0, key, value, []))
        self.offsets |= prepared.offsets

    # As the jobs' log
    def catch_up(self):
        return list(self.written)

    # As a launcher, and as what it launched
    def launch(self, spec):
        self.launched.append((spec.id, spec.attempt))
        return _Job(self)

    def add(self, name, *, partition=0, suppressed=None):
        trigger = Trigger(f"{name:0>16}", "request", 0, "somebody asks", suppressed_by=suppressed)
        _, value, _ = encode_trigger(trigger_row("mill", trigger))
        offset = sum(p == partition for p, _, _ in self.triggers)
        self.triggers.append((partition, offset, value))

    def runner(self, **options):
        made = RunnerOptions(**{"poll_seconds": 0, **options})
        clock = lambda: self.seconds  # noqa: E731
        return JobRunner(
            "mill.training-jobs", "r1", self, self, JobLog(self), self, lambda *a: self.published.append(a),
            lambda: self.cancelled, now=lambda: NOW, clock=clock, options=made,
        )  # fmt: skip

    def states(self):
        return [(row["state"], row["attempt"]) for row in decode_jobs([r.value for r in self.written])]


class _Job:
    def __init__(self, world):
        self.world = world

    def poll(self):
        return self.world.told.pop(0) if self.world.told else Told()

    def cancel(self):
        self.world.ended.append("cancelled")


def succeeded(**more):
    return Told(result={"state": "succeeded", "reason": "better", "model_version": "m1", **more})


@pytest.fixture
def world():
    return World()


def steps(runner, count=6):
    for _ in range(count):
        runner.step()


def test_a_job_runs_tells_and_ends_with_its_offset(world):
    world.add("a")
    runner = world.runner()
    world.told = [Told(steps=[{"step": "fitting", "progress": 0.5}]), succeeded()]
    runner.step()
    assert world.offsets == {0: 0}
    steps(runner)
    assert world.states() == [("running", 1), ("running", 1), ("running", 1), ("succeeded", 1)]
    assert world.offsets == {0: 1}
    assert [job for job, _ in world.published] == ["a".rjust(16, "0")]
    assert runner.idle


def test_suppressed_triggers_and_garbage_only_move_the_offset(world):
    world.add("a", suppressed="cooldown")
    world.triggers.append((0, 1, b"garbage"))
    runner = world.runner()
    steps(runner, 2)
    assert (world.launched, world.offsets) == ([], {0: 2})


def test_a_failed_job_is_begun_again_after_a_pause_that_doubles(world):
    world.add("a")
    runner = world.runner(attempts=3, backoff=10)
    for pause in (10, 20):
        world.told = [Told(failure="it was ended by the signal SIGKILL")]
        steps(runner)
        started = len(world.launched)
        world.seconds += pause - 1
        steps(runner)
        assert len(world.launched) == started
        world.seconds += 1
        steps(runner, 1)
        assert len(world.launched) == started + 1
    world.told = [Told(failure="again")]
    steps(runner)
    assert world.states()[-1] == ("failed", 3)
    assert world.offsets == {0: 1}
    assert world.published == []


def test_while_one_waits_others_of_other_partitions_run(world):
    world.add("a")
    world.add("b", partition=1)
    runner = world.runner()
    world.told = [Told(failure="no"), succeeded()]
    steps(runner, 8)
    assert [job[-1] for job, _ in world.launched] == ["a", "b"]
    assert world.offsets == {0: 0, 1: 1}


def test_the_next_of_a_partition_waits_for_the_one_before(world):
    world.add("a")
    world.add("b")
    runner = world.runner()
    world.told = [Told(failure="no")]
    steps(runner, 8)
    assert [job[-1] for job, _ in world.launched] == ["a"]


def test_a_job_whose_runner_died_is_taken_up_again(world):
    world.add("a")
    dead = world.runner()
    steps(dead, 2)
    world.read = 0
    heir = world.runner()
    world.told = [succeeded()]
    steps(heir)
    assert world.launched == [("a".rjust(16, "0"), 1), ("a".rjust(16, "0"), 2)]
    assert world.states()[-1] == ("succeeded", 2)


def test_one_that_keeps_killing_its_runner_is_given_up(world):
    world.add("a")
    for _ in range(5):
        world.read = 0
        steps(world.runner(attempts=3, interruptions=4), 2)
    assert world.states()[-1] == ("failed", 4)
    assert len(world.launched) == 4
    assert "interrupted 4 times" in decode_jobs([world.written[-1].value])[0]["reason"]


def test_interruptions_use_up_no_attempt(world):
    """A rebalance, a dead runner and a failure by turns: only what failed by itself counts."""
    world.add("a")
    for _ in range(2):
        world.read = 0
        runner = world.runner(attempts=3)
        steps(runner, 2)
        runner.revoked(0)
        world.read = 0
        dead = world.runner(attempts=3)
        steps(dead, 2)
        world.read, world.told = 0, [Told(failure="no")]
        steps(world.runner(attempts=3), 3)
        assert world.states()[-1][0] == "queued"
    world.read, world.told = 0, [Told(failure="no")]
    steps(world.runner(attempts=3), 3)
    (end,) = decode_jobs([world.written[-1].value])
    assert (end["state"], end["attempt"], end["failures"]) == ("failed", 7, 3)
    assert "failure 3 of 3" in end["reason"]


def test_the_pause_grows_with_failures_alone(world):
    world.add("a")
    for _ in range(3):
        world.read = 0
        steps(world.runner(), 2)
    world.read, world.told = 0, [Told(failure="no")]
    steps(world.runner(backoff=10), 3)
    assert "after 10 s" in decode_jobs([world.written[-1].value])[0]["reason"]


def test_a_runner_that_is_stopped_uses_up_no_attempt(world):
    world.add("a")
    for _ in range(4):
        world.read = 0
        runner = world.runner(attempts=3)
        steps(runner, 2)
        runner.hand_over()
        assert world.states()[-2:] == [("running", 1), ("queued", 0)]
        assert runner.idle
    assert (len(world.ended), world.offsets) == (4, {0: 0})
    world.read, world.told = 0, [succeeded()]
    steps(world.runner(attempts=3))
    assert world.states()[-1] == ("succeeded", 1)


def test_a_result_that_is_in_hand_is_not_handed_over(world):
    world.add("a")
    runner = world.runner()
    world.aborts = [False, True]
    world.told = [succeeded()]
    steps(runner, 2)
    runner.hand_over()
    steps(runner)
    assert world.states()[-1] == ("succeeded", 1)


def test_one_that_has_ended_is_not_run_again(world):
    world.add("a")
    world.told = [succeeded()]
    steps(world.runner())
    world.read, world.offsets = 0, {}
    steps(world.runner())
    assert len(world.launched) == 1
    assert world.offsets == {0: 1}


def test_a_revoked_partition_takes_its_job_along(world):
    world.add("a")
    world.add("b", partition=1)
    runner = world.runner()
    runner.step()
    runner.revoked(0)
    assert world.ended == ["cancelled"]
    world.told = [succeeded()]
    steps(runner)
    assert world.offsets.get(0) == 0
    assert world.offsets.get(1) == 1


def test_a_cancelled_job_ends(world):
    world.add("a")
    world.add("b")
    runner = world.runner()
    steps(runner, 2)
    world.cancelled |= {"a".rjust(16, "0"), "b".rjust(16, "0")}
    steps(runner)
    assert [state for state, _ in world.states() if state in ENDED] == ["cancelled", "cancelled"]
    assert len(world.launched) == 1


@pytest.mark.parametrize("aborted", range(6))
def test_whatever_commit_is_aborted_the_job_ends_once(world, aborted):
    world.add("a")
    world.aborts = [False] * aborted + [True]
    runner = world.runner()
    world.told = [Told(steps=[{"step": "fitting", "progress": 0.5}]), succeeded()]
    for _ in range(12):
        runner.step()
        if not world.told and not world.offsets.get(0) and len(world.launched) == 2:
            world.told = [succeeded()]
    assert [state for state, _ in world.states()].count("succeeded") == 1
    assert world.offsets == {0: 1}


def test_states_follow_each_other_as_declared(world):
    world.add("a")
    runner = world.runner()
    world.told = [Told(failure="no"), succeeded()]
    for _ in range(8):
        runner.step()
        world.seconds += 100
    states = [state for state, _ in world.states()]
    assert all(after in NEXT[before] for before, after in itertools.pairwise(states))
