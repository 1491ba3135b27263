import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tidemill.schemas.errors import CommitAborted, Fenced, StreamError
from tidemill.streams.in_flight import InFlight
from tidemill.streams.loop import BRIEF, Loop, LoopOptions, run_in_turn
from tidemill.streams.metrics import Metrics
from tidemill.streams.ports import Prepared, Records, StageCounts


def records(count, timestamp=1_000):
    numbers = np.arange(count, dtype=np.int64)
    return Records(
        np.zeros(count, np.int32), numbers, np.full(count, timestamp), [None] * count, [b""] * count, [None] * count
    )


class Fake:
    """A task, a source and a committer that note what is asked of them."""

    def __init__(self, batches=(), failures=()):
        self.calls = []
        self.batches, self.failures, self.quiet = list(batches), list(failures), []

    def poll(self, most, timeout):
        self.calls.append(("poll", most, timeout))
        return records(self.batches.pop(0)) if self.batches else records(0)

    def prepare(self, given):
        self.calls.append(("prepare", len(given)))
        return Prepared([], [], {0: len(given)}, {"sanity_check": StageCounts(accepted=len(given))})

    def commit(self, prepared):
        self.calls.append(("commit", prepared.offsets[0]))
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure

    def committed(self, prepared):
        self.calls.append(("committed", prepared.offsets[0]))

    def idle(self, ended, now):
        self.calls.append(("idle", ended))
        return self.quiet.pop(0) if self.quiet else None

    def ended(self):
        return {1}

    def rewind(self):
        self.calls.append(("rewind",))

    def lag(self):
        self.calls.append(("lag",))
        return {0: 3}

    def names(self):
        return [call[0] for call in self.calls if call[0] not in ("poll", "lag", "idle")]


class Part:
    """The fake as a source or as a committer, closed by its own name."""

    def __init__(self, fake, name):
        self.fake, self.name = fake, name

    def __getattr__(self, attribute):
        return getattr(self.fake, attribute)

    def close(self):
        self.fake.calls.append((f"{self.name} closed",))


class Followed:
    def __init__(self, calls):
        self.calls = calls

    def start(self):
        self.calls.append(("start",))

    def poll(self):
        self.calls.append(("follow",))


@pytest.fixture
def loop():
    def make(fake, now=lambda: 10.0, executor=None, **options):
        metrics = Metrics()
        made = Loop(
            fake,
            Part(fake, "source"),
            Part(fake, "committer"),
            followed=[Followed(fake.calls)],
            metrics=metrics,
            now=now,
            options=LoopOptions(**options) if options else None,
            in_flight=InFlight(fake, executor) if executor else None,
        )
        return made, metrics

    return make


def rounds(count):
    left = iter(range(count + 1))
    return lambda: next(left) == count


def test_a_batch_is_prepared_committed_and_noted(loop):
    fake = Fake([3])
    made, metrics = loop(fake)
    assert made.step() == 3
    assert fake.calls == [
        ("poll", 10_000, 0.1),
        ("follow",),
        ("prepare", 3),
        ("commit", 3),
        ("committed", 3),
        ("idle", {1}),
        ("lag",),
    ]
    assert (
        metrics.registry.get_sample_value("tidemill_events_total", {"stage": "sanity_check", "outcome": "accepted"})
        == 3
    )
    assert metrics.registry.get_sample_value("tidemill_consumer_lag", {"partition": "0"}) == 3
    # The records are of second 1, now is 10.
    assert metrics.registry.get_sample_value("tidemill_event_latency_seconds_sum") == 27.0


def test_what_is_followed_starts_first_and_is_asked_before_each_batch(loop):
    fake = Fake([1, 0, 2])
    loop(fake)[0].run(rounds(3))
    assert fake.names()[0] == "start"
    assert fake.names()[1:] == [
        "follow",
        "prepare",
        "commit",
        "committed",
        "follow",
        "follow",
        "prepare",
        "commit",
        "committed",
        "source closed",
        "committer closed",
    ]


def test_what_is_to_be_said_of_quiet_partitions_is_committed_and_is_no_batch(loop):
    fake = Fake()
    fake.quiet = [Prepared([], [], {0: 7})]
    made, metrics = loop(fake)
    assert made.step() == 0
    assert ("commit", 7) in fake.calls
    assert ("committed", 7) in fake.calls
    assert metrics.registry.get_sample_value("tidemill_batch_events_count") == 0


def test_several_loops_have_their_turns_and_wait_only_when_none_had_work(loop):
    first, second = Fake([0, 1, 0]), Fake([0, 0, 0])
    run_in_turn([loop(first)[0], loop(second)[0]], rounds(3))
    waits = [[call[2] for call in fake.calls if call[0] == "poll"] for fake in (first, second)]
    assert waits == [[BRIEF, BRIEF, 0.0], [BRIEF, BRIEF, 0.0]]
    assert all(fake.calls[-1] == ("committer closed",) for fake in (first, second))


def test_records_from_the_future_have_no_negative_latency(loop):
    made, metrics = loop(Fake([1]), now=lambda: 0.5)
    made.step()
    assert metrics.registry.get_sample_value("tidemill_event_latency_seconds_sum") == 0.0


def test_an_aborted_commit_is_rewound_and_tried_again(loop):
    fake = Fake([2, 2], [CommitAborted("no"), None])
    made, metrics = loop(fake)
    made.run(rounds(2))
    assert [name for name in fake.names() if name != "follow"] == [
        "start",
        "prepare",
        "commit",
        "rewind",
        "prepare",
        "commit",
        "committed",
        "source closed",
        "committer closed",
    ]
    assert metrics.registry.get_sample_value("tidemill_commits_aborted_total") == 1


def test_too_many_aborts_in_a_row_end_the_worker(loop):
    fake = Fake([1] * 10, [CommitAborted("no")] * 10)
    made, _ = loop(fake, max_aborts=2)
    with pytest.raises(CommitAborted):
        made.run(rounds(10))
    assert fake.names().count("commit") == 3
    assert fake.names()[-2:] == ["source closed", "committer closed"]


def test_a_commit_in_between_starts_the_count_again(loop):
    aborted = CommitAborted("no")
    fake = Fake([1] * 6, [aborted, aborted, None, aborted, aborted, None])
    loop(fake, max_aborts=2)[0].run(rounds(6))
    assert fake.names().count("committed") == 2


@pytest.mark.parametrize("failure", [Fenced("gone"), StreamError("down")])
def test_what_cannot_be_retried_propagates_and_the_group_is_left(loop, failure):
    fake = Fake([1], [failure])
    with pytest.raises(type(failure)):
        loop(fake)[0].run(rounds(3))
    assert "rewind" not in fake.names()
    assert fake.names()[-2:] == ["source closed", "committer closed"]


def test_a_stop_leaves_the_group_without_polling_again(loop):
    fake = Fake([1])
    loop(fake)[0].run(lambda: True)
    assert fake.calls == [("start",), ("source closed",), ("committer closed",)]


def test_everything_is_closed_if_what_is_followed_cannot_start(loop):
    fake = Fake()
    made, _ = loop(fake)

    def broken():
        raise StreamError("no models topic")

    made._followed[0].start = broken
    with pytest.raises(StreamError):
        made.run(lambda: True)
    assert fake.names() == ["source closed", "committer closed"]


def test_the_lag_is_asked_for_once_in_a_while(loop):
    clock = iter([0.0, 0.4, 0.9, 1.0])
    fake = Fake()
    made, _ = loop(fake, now=lambda: next(clock), lag_seconds=1.0)
    for _ in range(4):
        made.step()
    assert fake.calls.count(("lag",)) == 2


class Slow(Fake):
    """Commits that last until the next batch was prepared."""

    def __init__(self, *given):
        super().__init__(*given)
        self.second = threading.Event()

    def prepare(self, given):
        made = super().prepare(given)
        if self.names().count("prepare") > 1:
            self.second.set()
        return made

    def commit(self, prepared):
        assert self.second.wait(10)
        super().commit(prepared)


def test_a_batch_is_prepared_while_the_one_before_is_committed(loop):
    fake = Slow([1, 2])
    with ThreadPoolExecutor(1) as executor:
        made, metrics = loop(fake, executor=executor)
        made.run(rounds(2))
    assert fake.names() == ["start", "follow", "prepare", "follow", "prepare"] + ["commit", "committed"] * 2 + [
        "source closed",
        "committer closed",
    ]
    assert metrics.registry.get_sample_value("tidemill_batch_events_sum") == 3


def test_what_was_prepared_on_a_commit_that_failed_is_dropped(loop):
    fake = Slow([1, 2, 4], [CommitAborted("rolled back")])
    with ThreadPoolExecutor(1) as executor:
        made, metrics = loop(fake, executor=executor)
        made.run(rounds(3))
    assert fake.names()[:6] == ["start", "follow", "prepare", "follow", "prepare", "commit"]
    assert fake.names()[6:] == [
        "rewind",
        "follow",
        "prepare",
        "commit",
        "committed",
        "source closed",
        "committer closed",
    ]
    assert [call for call in fake.calls if call[0] == "committed"] == [("committed", 4)]
    assert metrics.registry.get_sample_value("tidemill_commits_aborted_total") == 1
