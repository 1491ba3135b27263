import polars as pl
import pytest

import tidemill as tm
from tidemill.schemas.errors import DeclarationError
from tidemill.streams.access import Grant, concerns, declared_grants, grants

EVENT = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


@pytest.fixture
def plan():
    return tm.Pipeline("mill", tm.Events(EVENT, key="id", time="at", id="id")).plan()


def test_a_role_or_user_that_cannot_be_is_refused(plan):
    with pytest.raises(DeclarationError, match="there is no role 'labeler'; did you mean 'labeller'"):
        grants(plan, "labeler", "tower")
    for user in ("", "*"):
        with pytest.raises(DeclarationError, match="a role is given to a user by name"):
            grants(plan, "producer", user)
    with pytest.raises(DeclarationError, match="access of worker: expected a list of users' names, got 'mill'"):
        tm.Access(worker="mill")


def test_only_an_operator_is_given_anything_on_the_cluster(plan):
    for role in tm.Access().users():
        on_cluster = {grant.operation for grant in grants(plan, role, "x") if grant.resource == "cluster"}
        assert on_cluster == ({"alter", "describe"} if role == "operator" else set())


def test_no_topic_is_granted_by_a_prefix_or_without_being_the_pipelines(plan):
    topics = {spec.name for spec in plan.topics()}
    for grant in declared_grants(plan, {role: ["x"] for role in tm.Access().users()}):
        assert grant.resource != "topic" or (grant.name in topics and not grant.prefixed)


def test_every_topic_is_written_and_read_by_some_role(plan):
    given = declared_grants(plan, {role: ["x"] for role in tm.Access().users()})
    for operation in ("read", "write"):
        allowed = {grant.name for grant in given if grant.resource == "topic" and grant.operation == operation}
        assert allowed == {spec.name for spec in plan.topics()}


def test_what_is_pruned_is_this_pipelines_alone(plan):
    assert concerns(plan, Grant("x", "topic", "mill.events", "read"))
    assert concerns(plan, Grant("x", "group", "mill.subscriber.x.", "read", prefixed=True))
    for name in ("mill", "millet.events", "mil", "*"):
        assert not concerns(plan, Grant("x", "topic", name, "read"))
    assert not concerns(plan, Grant("x", "group", "tidemill-", "describe", prefixed=True))
    assert not concerns(plan, Grant("x", "cluster", "kafka-cluster", "alter"))


def test_users_do_not_decide_about_features():
    def made(**more):
        return tm.Pipeline("mill", tm.Events(EVENT, key="id", time="at", id="id"), **more).plan().version

    assert made() == made(access=tm.Access(producer=["gate"]))


def test_a_labeller_reads_requests_but_no_labels_and_a_trainer_writes_them():
    label = {
        "type": "record",
        "name": "Label",
        "fields": [
            {"name": name, "type": kind} for name, kind in {"id": "string", "who": "string", "ok": "boolean"}.items()
        ],
    }
    labels = tm.Labels(label, id="id", label=pl.col("ok"), annotator="who", annotators=tm.Annotators())
    plan = tm.Pipeline("mill", tm.Events(EVENT, key="id", time="at", id="id"), labels=labels).plan()

    def allowed(role):
        given = grants(plan, role, "x")
        return {(g.operation, g.name.removeprefix("mill.")) for g in given if g.resource == "topic"}

    assert allowed("labeller") == {("read", "schemas"), ("read", "label-requests"), ("write", "labels")}
    assert {("read", "label-requests"), ("write", "label-requests"), ("read", "labels")} < allowed("trainer")
    for role in set(tm.Access().users()) - {"labeller", "trainer", "operator"}:
        assert not {grant for grant in allowed(role) if grant[1] == "label-requests" and grant[0] in ("read", "write")}
