"""Findings in, incidents out: what opens, what is worth another word, what is over."""

from dataclasses import replace

import pytest

from tidemill.processors.drift.incident import Action, Alarm, Span
from tidemill.processors.drift.incidents import IncidentPolicy, Incidents

HOUR = 3_600_000
COVERED = {("data_drift", "")}


def window(number):
    return Span(number * HOUR, (number + 1) * HOUR)


def alarm(statistic=0.3, severity="warning", **changes):
    made = Alarm("data_drift", "amount", "", "psi", severity, statistic, 0.2, f"PSI of amount is {statistic}")
    return replace(made, **changes)


@pytest.fixture
def incidents():
    return Incidents("shop", IncidentPolicy(resolve_after=2, remind_every=5, material=0.5))


def told(incidents, number, *alarms):
    return [(i.state, i.revision) for i in incidents.judged(window(number), COVERED, alarms)]


def test_one_incident_from_the_first_finding_to_the_last(incidents):
    said = [told(incidents, n, *([alarm()] if n in (1, 2, 3) else [])) for n in range(7)]
    assert said == [[], [("opened", 0)], [], [], [], [("resolved", 1)], []]
    assert incidents.standing == []


def test_a_quiet_window_does_not_end_it(incidents):
    said = [told(incidents, n, *([alarm()] if n % 2 else [])) for n in range(1, 8)]
    assert said == [[("opened", 0)], [], [], [], [], [], []]


def test_it_is_told_of_again_when_it_becomes_worse_when_it_moves_and_when_it_lasts(incidents):
    said = [told(incidents, 0, alarm(0.3)), told(incidents, 1, alarm(0.4)), told(incidents, 2, alarm(0.46))]
    assert said == [[("opened", 0)], [], [("updated", 1)]]
    assert told(incidents, 3, alarm(0.5, "critical")) == [("updated", 2)]
    assert told(incidents, 4, alarm(0.5, "warning")) == []
    assert [told(incidents, n, alarm(0.5)) for n in range(5, 10)] == [[], [], [], [("updated", 3)], []]


def test_a_long_drift_is_a_few_messages(incidents):
    assert sum(len(told(incidents, n, alarm(0.3 + 0.01 * (n % 7)))) for n in range(1000)) < 1000 / 5 + 2


def test_what_was_not_looked_at_is_not_quiet(incidents):
    told(incidents, 0, alarm())
    for number in range(1, 9):
        assert incidents.judged(window(number), {("data_drift", "origin=JFK"), ("concept_drift", "")}, []) == []


def test_the_id_names_pipeline_subject_and_opening_window():
    def opened(pipeline="shop", number=0, **changes):
        (incident,) = Incidents(pipeline).judged(window(number), COVERED, [alarm(**changes)])
        return incident.id

    different = [
        opened(),
        opened("mill"),
        opened(number=1),
        opened(subject="x"),
        opened(slice="a=b"),
        opened(detector="ks"),
    ]
    assert len(set(different)) == len(different)
    assert opened(statistic=9.0, severity="critical", message="other") == opened()


def test_the_same_window_again_changes_nothing(incidents):
    told(incidents, 0, alarm())
    before = incidents.standing
    assert told(incidents, 0, alarm(0.9, "critical")) == []
    assert told(incidents, 0) == []
    assert incidents.standing == before


def test_after_it_is_over_another_one_opens(incidents):
    ids = []
    for number in (0, 1, 2, 3, 4):
        ids += [i.id for i in incidents.judged(window(number), COVERED, [alarm()] if number in (0, 3) else [])]
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]


def action(incident, what, place, until=None):
    return Action(incident.id, what, "ann", until, "because", place)


def test_a_mute_marks_the_alerts_until_it_is_taken_back(incidents):
    (opened,) = incidents.judged(window(0), COVERED, [alarm()])
    (muted,) = incidents.act(action(opened, "mute", 0))
    assert (muted.muted, muted.note, muted.state, muted.revision) == (True, "because", "updated", 1)
    assert incidents.act(action(opened, "mute", 0)) == []
    (worse,) = incidents.judged(window(1), COVERED, [alarm(0.9)])
    assert worse.muted
    (again,) = incidents.act(action(opened, "unmute", 1))
    assert not again.muted


def test_a_mute_with_an_end_holds_for_what_opens_until_then(incidents):
    (opened,) = incidents.judged(window(0), COVERED, [alarm()])
    incidents.act(action(opened, "mute", 0, until=10 * HOUR))
    assert [incidents.judged(window(n), COVERED, [])[:1] for n in (1, 2)][1][0].state == "resolved"
    (second,) = incidents.judged(window(5), COVERED, [alarm()])
    assert second.muted
    assert incidents.judged(window(8), COVERED, [alarm()]) == []
    (heard,) = incidents.judged(window(9), COVERED, [alarm()])
    assert (heard.muted, heard.state) == (False, "updated")


def test_who_takes_it_on_stands_in_the_alerts(incidents):
    (opened,) = incidents.judged(window(0), COVERED, [alarm()])
    (taken,) = incidents.act(action(opened, "acknowledge", 0))
    assert (taken.acknowledged_by, taken.muted) == ("ann", False)
    incidents.judged(window(1), COVERED, [])
    (resolved,) = incidents.judged(window(2), COVERED, [])
    assert resolved.acknowledged_by == "ann"


def test_what_is_saved_is_all_that_is_known(incidents):
    (opened,) = incidents.judged(window(0), COVERED, [alarm()])
    incidents.act(action(opened, "mute", 0, until=10 * HOUR))
    incidents.act(Action("0" * 16, "acknowledge", "ann", None, "", 1))
    other = Incidents("shop", IncidentPolicy(resolve_after=2))
    other.restore(incidents.entries())
    assert other.standing == incidents.standing
    assert incidents.entries() == {}
    for number in (1, 2, 3):
        alarms = [alarm()] if number == 3 else []
        assert other.judged(window(number), COVERED, alarms) == incidents.judged(window(number), COVERED, alarms)


def test_actions_on_what_is_not_known_do_not_pile_up(incidents):
    for number in range(300):
        incidents.act(Action(f"{number:016x}", "mute", "ann", None, "", number))
    assert incidents.entries()["early"].count(b'"id"') == 256
