"""A pipeline with windows on other keys as it is planned and described."""

import json
import sys

import pytest

import tidemill as tm
from tidemill.cli import main
from tidemill.schemas.errors import DeclarationError
from tidemill.streams.access import grants

SOURCE = """
import tidemill as tm

call = {"type": "record", "name": "Call", "fields": [
    {"name": "id", "type": "string"}, {"name": "caller", "type": "string"}, {"name": "cell", "type": "string"},
    {"name": "plan", "type": "int"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}
pipeline = tm.Pipeline("calls", tm.Events(call, key="caller", time="at", id="id"), features=[
    tm.window("caller", over="1h", own=tm.count()),
    tm.window("cell", over="1h", near=tm.count()),
    tm.window("plan", over="1h", alike=tm.count()),
    tm.window("cell", over="2h", nearby=tm.count())])
"""
STAGES = (
    "sanity_check",
    "feature_enrichment",
    "windows_by_cell",
    "windows_by_plan",
    "feature_assembly",
    "online_inference",
)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "calls.py").write_text(SOURCE)
    return tmp_path / "calls.py"


@pytest.fixture
def plan(file):
    return tm.testing.Driver(file).plan


def test_each_other_key_is_a_task_of_its_own(plan):
    assert plan.hops == ["cell", "plan"]
    assert plan.stages == STAGES
    assert plan.tasks(STAGES) == [STAGES[:2], STAGES[2:3], STAGES[3:4], STAGES[4:]]
    assert plan.tasks(["feature_assembly", "windows_by_cell"]) == [("windows_by_cell",), ("feature_assembly",)]
    assert tuple(stage.name for stage in plan.make_stages()) == STAGES
    with pytest.raises(DeclarationError, match="no stage 'windows_by_sell'; did you mean 'windows_by_cell'"):
        plan.tasks(["windows_by_sell"])


def test_its_topics_are_made_with_the_others_and_are_the_workers_alone(plan):
    specs = {spec.name: spec for spec in plan.topics()}
    for name in ("calls.by-cell", "calls.by-plan", "calls.enriched"):
        # An event's own time would have retention delete what is still to be read.
        assert specs[name].config["message.timestamp.type"] == "LogAppendTime"
        assert specs[name].partitions is None
        assert {g.operation for g in grants(plan, "worker", "w") if g.name == name} >= {"read", "write"}
        others = {grant.name for role in ("producer", "subscriber", "trainer") for grant in grants(plan, role, "u")}
        assert name not in others
    assert {g.name for g in grants(plan, "worker", "w") if g.resource == "group"} >= {f"calls.{s}" for s in STAGES}


def test_describe_shows_the_hops_and_why(file, monkeypatch, capsys):
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["tidemill", "describe", str(file), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    text = capsys.readouterr().out
    assert "windows on cell cost one hop, because events are keyed by caller" in text
    found = json.loads(text.splitlines()[-1])
    assert [hop["topic"] for hop in found["hops"]] == ["calls.by-cell", "calls.by-plan"]
