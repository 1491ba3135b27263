"""When a new model is wanted, and what holds that back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.processors.drift.incident import Alarm, Incident, Span
from tidemill.processors.retraining import Request, Retrain, RetrainPolicy
from tidemill.schemas.errors import DeclarationError

DAY = 24 * 3600 * 1000


def incident(
    name, day, *, kind="concept_drift", state="opened", revision=0, severity="warning", muted=False, effect=None
):
    alarm = Alarm(kind, "log_loss", "", "sr", severity, 2.0, 1.0, "it is worse", reference="v1", effect=effect)
    span = Span((day - 1) * DAY, day * DAY)
    made = Incident.opened(name, alarm, span, ())
    return Incident(**{**vars(made), "state": state, "revision": revision, "updated_at": day * DAY, "muted": muted})


class Policy(RetrainPolicy):
    """One whose jobs end as soon as they are drained."""

    def drain(self):
        made, told = super().drain(), []
        while made:
            told += made
            for trigger in made:
                self.job_ended(trigger.id)
            made = super().drain()
        return told


def policy(kind=Policy, **declared):
    return kind("mill", Retrain(**{"least_labels": 0, **declared}))


def test_an_incident_fires_with_its_evidence():
    made = policy()
    made.incident(incident("a", 10))
    (trigger,) = made.drain()
    assert (trigger.fired, trigger.cause, trigger.at, trigger.since) == (True, "drift_alert", 10 * DAY, 9 * DAY)
    assert trigger.reference == "v1"
    assert trigger.evidence["incidents"][0]["id"] == "a"


def test_the_same_record_again_is_the_same_trigger_once():
    made = policy()
    made.incident(incident("a", 10))
    made.incident(incident("a", 10))
    assert len(made.drain()) == 1


def test_one_trigger_answers_all_that_is_open():
    made = policy(cooldown="0s", least_labels=100)
    made.incident(incident("a", 10))
    made.incident(incident("b", 11))
    made.drain()
    made.outcomes(100)
    (trigger,) = made.drain()
    assert [each["id"] for each in trigger.evidence["incidents"]] == ["a", "b"]
    assert trigger.since == 9 * DAY


def test_the_cooldown_is_said_once_and_the_incident_fires_when_it_is_over():
    made = policy(cooldown="5d")
    made.incident(incident("a", 10))
    made.drain()
    made.incident(incident("b", 11))
    made.window(12 * DAY, {})
    (held,) = made.drain()
    assert held.suppressed_by == "cooldown"
    assert "1970-01-16" in held.reason
    made.window(15 * DAY, {})
    (fired,) = made.drain()
    assert fired.fired


def test_what_has_resolved_meanwhile_does_not_fire():
    made = policy(cooldown="5d")
    made.incident(incident("a", 10))
    made.incident(incident("b", 11))
    made.incident(incident("b", 13, state="resolved", revision=1))
    made.drain()
    made.window(20 * DAY, {})
    assert made.drain() == []


def test_one_job_at_a_time():
    made = policy(RetrainPolicy, cooldown="0s")
    made.incident(incident("a", 10))
    made.incident(incident("b", 11))
    fired, held = made.drain()
    assert (fired.fired, held.suppressed_by) == (True, "running")
    made.job_ended("of another pipeline")
    assert made.drain() == []
    made.job_ended(fired.id)
    (next_one,) = made.drain()
    assert [each["id"] for each in next_one.evidence["incidents"]] == ["b"]


def test_the_budget_is_kept():
    made, told = policy(cooldown="0s", budget="2/week"), []
    for day in range(10, 20):
        made.incident(incident(f"i{day}", day))
        told += made.drain()
    fired = [trigger.at // DAY for trigger in told if trigger.fired]
    assert fired == [10, 11, 17, 18]


def test_a_quorum_is_waited_for():
    made = policy(quorum=2)
    made.incident(incident("a", 10))
    (held,) = made.drain()
    assert held.suppressed_by == "quorum"
    made.incident(incident("b", 11))
    assert [trigger.fired for trigger in made.drain()] == [True]


@pytest.mark.parametrize("kind", ["missing_rate", "rejection_rate"])
def test_a_fault_of_the_data_is_not_learnt(kind):
    made = policy()
    made.incident(incident("fault", 10, kind=kind))
    made.incident(incident("a", 10))
    (held,) = made.drain()
    assert held.suppressed_by == "data_fault"
    assert kind in held.reason
    made.incident(incident("fault", 12, kind=kind, state="resolved", revision=1))
    assert [trigger.fired for trigger in made.drain()] == [True]


@pytest.mark.parametrize("kind", ["missing_rate", "rejection_rate"])
def test_fewer_missing_values_or_rejections_are_no_fault(kind):
    made = policy(cooldown="0s", on=["concept_drift"])
    made.incident(incident("better", 10, kind=kind, effect=-0.7))
    made.incident(incident("a", 10))
    assert [trigger.fired for trigger in made.drain()] == [True]
    made.incident(incident("better", 11, kind=kind, revision=1, effect=0.7))
    made.incident(incident("b", 11))
    assert [trigger.suppressed_by for trigger in made.drain()] == ["data_fault"]


def test_muted_incidents_and_warnings_may_be_left_out():
    made = policy(severity="critical")
    made.incident(incident("a", 10))
    made.incident(incident("b", 10, severity="critical", muted=True))
    assert made.drain() == []
    made.incident(incident("c", 10, severity="critical"))
    assert len(made.drain()) == 1


def test_too_few_labels_hold_it_back():
    made = policy(least_labels=50)
    made.incident(incident("a", 10))
    assert [trigger.suppressed_by for trigger in made.drain()] == ["few_labels"]
    made.outcomes(49)
    assert made.drain() == []
    made.outcomes(1)
    assert [trigger.fired for trigger in made.drain()] == [True]


def test_performance_below_its_floor():
    made = policy(floor={"accuracy": 0.7})
    made.window(10 * DAY, {"accuracy": 0.71})
    assert made.drain() == []
    made.window(11 * DAY, {"accuracy": 0.69})
    (trigger,) = made.drain()
    assert (trigger.cause, trigger.evidence["value"]) == ("performance", 0.69)


def test_a_schedule_and_enough_labels():
    made, told = policy(at_least_every="30d", labels=1_000, cooldown="0s", budget=None), []
    for day in range(0, 91, 10):
        made.window(day * DAY, {})
        told += made.drain()
    assert [trigger.at // DAY for trigger in told] == [30, 60, 90]
    made.outcomes(1_000)
    (trigger,) = made.drain()
    assert trigger.cause == "labels"


def test_a_first_model_follows_from_the_first_labels():
    made = policy(least_labels=100)
    made.window(10 * DAY, {})
    made.outcomes(99, "prior")
    assert made.drain() == []
    made.outcomes(1, "prior")
    (trigger,) = made.drain()
    assert (trigger.fired, trigger.cause) == (True, "labels")
    assert "no model answers yet" in trigger.reason
    made.outcomes(50, "prior", 20 * DAY)
    assert made.drain() == []
    made.outcomes(50, "prior", 20 * DAY)
    (again,) = made.drain()
    assert (again.fired, again.at) == (True, 20 * DAY)


def test_no_first_model_where_one_was_announced_by_somebody():
    made = Policy("mill", Retrain(least_labels=100), lambda: True)
    made.outcomes(500, "prior", 10 * DAY)
    assert made.drain() == []


def test_what_holds_incidents_back_is_said_once_however_they_change():
    made = policy(cooldown="9d")
    made.incident(incident("a", 10))
    for revision in range(3):
        made.incident(incident("b", 11 + revision, state="updated", revision=revision))
    assert [trigger.suppressed_by for trigger in made.drain()] == [None, "running", "cooldown"]


@pytest.mark.parametrize("how", ["job", "outcome"])
def test_once_a_model_answers_late_labels_of_the_prior_lead_to_no_other_first_one(how):
    made = policy(RetrainPolicy, least_labels=100, cooldown="1h")
    made.outcomes(100, "prior", DAY)
    (trigger,) = made.drain()
    made.outcomes(5_000, "prior", DAY)
    if how == "outcome":
        made.outcomes(1, "m1", 2 * DAY)
    made.job_ended(trigger.id, succeeded=how == "job")
    made.outcomes(5_000, "prior", 3 * DAY)
    assert not [each for each in made.drain() if each.fired]


def test_a_request_is_not_held_back_but_done_once():
    made = policy(cooldown="365d", budget="1/week", least_labels=10**9)
    for number in (1, 2, 1):
        made.request(Request(f"r{number}", "ada", "a new terminal", None, number))
    triggers = made.drain()
    assert [trigger.cause for trigger in triggers] == ["request", "request"]
    assert "ada" in triggers[0].reason
    assert len({trigger.id for trigger in triggers}) == 2


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"on": ["concept_drif"]}, "concept_drift"),
        ({"on": ["missing_rate"]}, "must not be learnt"),
        ({"budget": "often"}, "4/week"),
        ({"floor": {"acuracy": 0.5}}, "accuracy"),
        ({"cooldown": "soon"}, "duration"),
        ({"quorum": 0}, "at least 1"),
        ({"severity": "bad"}, "critical"),
    ],
)
def test_a_misspelt_declaration_is_answered_with_the_right_word(declared, expected):
    with pytest.raises(DeclarationError, match=expected):
        Retrain(**declared)


@pytest.mark.parametrize(
    ("metric", "classes", "known"),
    [("auc", 0, "mae, rmse"), ("auc", 3, "accuracy"), ("rmse", 2, "accuracy, auc"), ("accuracy", 0, "mae")],
)
def test_a_floor_that_no_window_can_break_is_refused(metric, classes, known):
    with pytest.raises(DeclarationError, match=f"no '{metric}' of .*{known}"):
        Retrain(floor={metric: 0.5}).check(classes)


def test_floors_of_what_windows_have():
    Retrain(floor={"mae": 0.5, "rmse": 0.5}).check(0)
    Retrain(floor={"auc": 0.5, "log_loss": 0.5}).check(2)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("incident"), st.integers(0, 4), st.sampled_from(["opened", "resolved"]), st.booleans()),
        st.tuples(st.just("window"), st.integers(0, 5), st.floats(0.5, 1.0), st.none()),
        st.tuples(st.just("outcomes"), st.integers(0, 80), st.none(), st.none()),
        st.tuples(st.just("request"), st.integers(0, 3), st.none(), st.none()),
        st.tuples(st.just("ended"), st.none(), st.none(), st.none()),
    ),
    max_size=40,
)


@given(steps=_steps, cut=st.integers(0, 40))
def test_a_restart_anywhere_changes_nothing_and_cooldown_and_budget_always_hold(steps, cut):
    declared = Retrain(cooldown="2d", budget="3/week", least_labels=20, floor={"accuracy": 0.6}, at_least_every="9d")

    def run(restart):
        made, told, day = RetrainPolicy("mill", declared), [], 10
        for place, (what, number, value, fault) in enumerate(steps):
            if restart and place == cut:
                saved = json.loads(json.dumps(made.saved()))
                made = RetrainPolicy("mill", declared)
                made.restore(saved)
            if what == "incident":
                kind = "missing_rate" if fault else "concept_drift"
                made.incident(incident(f"{kind}{number}", day, kind=kind, state=value, revision=place))
            elif what == "window":
                day += number
                made.window(day * DAY, {"accuracy": value})
            elif what == "outcomes":
                made.outcomes(number)
            elif what == "ended":
                for trigger in told:
                    made.job_ended(trigger.id)
            else:
                made.request(Request(f"r{number}", "ada", "", None, place))
            told += made.drain()
        return told

    told = run(restart=False)
    assert told == run(restart=True)
    assert len({trigger.id for trigger in told}) == len(told)
    fired = [trigger for trigger in told if trigger.fired and trigger.cause != "request"]
    for trigger in fired:
        before = [t.at for t in told[: told.index(trigger)] if t.fired]
        assert not before or trigger.at - before[-1] >= 2 * DAY
        assert sum(trigger.at - at < 7 * DAY for at in before) < 3
