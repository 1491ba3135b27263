"""The control plane, killed at any write and started again, says what an undisturbed one says: no more, no less."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors.drift.incident import Action, Alarm, Span
from tidemill.processors.drift.incidents import IncidentPolicy, Incidents
from tidemill.processors.drift.profile import OutcomeBlock
from tidemill.processors.drift.sequences import Sequences
from tidemill.processors.drift.verdict import Judgement
from tidemill.processors.drift.windows import Delta, WindowKey, Windows
from tidemill.processors.retraining import Retrain, RetrainPolicy
from tidemill.streams.alerts import alert_row, encode_alert
from tidemill.streams.control_state import ControlState
from tidemill.streams.retraining import encode_trigger, trigger_row

WIDTH, GRACE, SOURCES = 10, 3, 2


@dataclass(frozen=True)
class Total:
    rows: int
    sum: int

    def merge(self, other):
        return Total(self.rows + other.rows, self.sum + other.sum)


class MeanJudge:
    """Finds a mean above 1, and counts the windows that it has seen."""

    def __init__(self):
        self.seen, self.order = 0, []

    def window(self, span, kind, profiles):
        self.seen += 1
        alarms = []
        for key, merged in profiles.items():
            mean = merged.profile.sum / merged.profile.rows
            if mean > 1:
                severity = "critical" if mean > 3 else "warning"
                text = f"window {self.seen} of {merged.profile.rows} rows"
                alarms.append(Alarm("data_drift", "x", key.slice, "mean", severity, mean, 1.0, text))
        return Judgement(alarms, {(what, key.slice) for key in profiles for what in ("data_drift", "concept_drift")})

    def outcomes(self, blocks):
        found = []
        for each in blocks:
            self.order.append(each.block.rows)
            if each.block.errors > 6:
                alarm = Alarm(
                    "concept_drift",
                    "errors",
                    each.slice,
                    "run",
                    "warning",
                    each.block.errors,
                    6.0,
                    f"{self.order[-3:]}",
                )
                found.append((Span(each.time, each.time + 1), alarm))
        return found

    def save(self):
        return [self.seen, self.order]

    def restore(self, saved):
        self.seen, self.order = saved


def make_state():
    def pack(profile):
        return json.dumps([profile.rows, profile.sum]).encode()

    return ControlState(
        Windows(SOURCES, {"features": GRACE}, idle=50),
        Sequences(SOURCES, idle=50),
        Incidents("mill", IncidentPolicy(resolve_after=2, remind_every=3)),
        MeanJudge(),
        pack,
        lambda value: Total(*json.loads(value)),
        RetrainPolicy("mill", Retrain(cooldown="20ms", budget="3/100ms", least_labels=15, labels=40)),
    )


@st.composite
def logs(draw, late=(0, 0, 0, 8, 25)):
    """Two tasks' deltas, mixed as they come; some look back by so much."""
    steps = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 8)), max_size=60))
    clock, records = [0, 0], []
    for offset, (source, step, level) in enumerate(steps):
        clock[source] += step
        at = max(0, clock[source] - draw(st.sampled_from(late)))
        start = at // WIDTH * WIDTH
        key = WindowKey(start, start + WIDTH, "features", draw(st.sampled_from(["", "a=b"])), "")
        blocks = tuple(OutcomeBlock(at + n, offset * 10 + n, level, 0.0) for n in range(level % 3))
        records.append(Delta(key, (0, offset), offset * 10, source, {0: at}, Total(2, level), blocks))
    return records


def run(records, cuts=()):
    """Alerts by id and revision, triggers by id, and what state is left.

    `cuts`: (records in hand, writes before the kill).
    """
    kept, sent, given_back = {}, {}, 0
    plans = iter(cuts)
    state, place = make_state(), 0
    while place < len(records) or given_back < place:
        size, writes = next(plans, (len(records) + 1, None))
        for record in records[place : place + size]:
            state.take(record)
        place = min(place + size, len(records))
        step = state.drain()
        alerts = [((i.id, i.revision), encode_alert(alert_row("mill", i))[1]) for i in step.alerts]
        told = [*alerts, *((t.id, encode_trigger(trigger_row("mill", t))[1]) for t in step.triggers)]
        for name, value in told if writes is None else told[:writes]:
            assert sent.setdefault(name, value) == value
        room = len(step.entries) if writes is None else max(0, writes - len(told))
        for name, value in step.entries[:room]:
            if value is None:
                kept.pop(name, None)
            else:
                kept[name] = value
        if writes is None:
            given_back = place
        else:
            state, place = make_state(), given_back
            state.restore(kept)
    return sent, kept


@settings(max_examples=40)
@given(logs(), st.lists(st.tuples(st.integers(1, 20), st.none() | st.integers(0, 30)), max_size=12))
def test_whenever_it_is_killed_the_same_is_said_in_the_end(records, cuts):
    sent, kept = run(records, cuts)
    assert (sent, kept) == run(records)


@settings(max_examples=25)
@given(logs())
def test_there_is_one_open_incident_at_most_for_each_thing(records):
    state = make_state()
    for record in records:
        state.take(record)
        series = [incident.series for incident in state.incidents.standing]
        assert len(series) == len(set(series))
    opened = [incident for incident in state.drain().alerts if incident.state == "opened"]
    assert len({incident.id for incident in opened}) == len(opened)


@settings(max_examples=25)
@given(logs(late=(0, 2)), st.randoms(use_true_random=False))
def test_how_the_tasks_mix_does_not_matter_within_the_grace(records, chance):
    """Without anybody being left behind as idle, a window holds what its sources say it does."""

    def windows(log):
        made, found = Windows(SOURCES, {"features": GRACE}, idle=None), {}
        for place, delta in enumerate(log):
            made.add(Delta(delta.key, (0, place), delta.seen, delta.task, delta.reached, delta.profile))
            for span, _, profiles in made.due():
                assert span not in found
                found[span] = {key: merged.profile for key, merged in profiles.items()}
        return found

    mixed, queues = [], [[d for d in records if d.task == source] for source in range(SOURCES)]
    while any(queues):
        mixed.append(chance.choice([queue for queue in queues if queue]).pop(0))
    assert windows(mixed) == windows(records)


@pytest.mark.parametrize("place", [0, 1])
def test_an_action_on_an_incident_survives_a_restart_that_forgets_the_incident(place):
    records = [
        Delta(WindowKey(t, t + 10, "features", "", ""), (0, n), n, n % 2, {0: t + 9}, Total(1, 5))
        for n, t in enumerate([0, 0, 20, 20, 40, 40])
    ]
    state = make_state()
    for record in records[:4]:
        state.take(record)
    (opened,) = state.drain().alerts
    state = make_state()
    action = Action(opened.id, "mute", "ann", None, "known", 0)
    state.act(action)
    kept = dict(state.drain().entries)
    if place:
        state = make_state()
        state.restore(kept)
    for record in records:
        state.take(record)
    told = state.drain().alerts
    assert {incident.id for incident in told if incident.muted} == {opened.id}
