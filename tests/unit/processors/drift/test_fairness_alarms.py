import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.dummy import DummyClassifier

import tidemill as tm
from tidemill.processors.drift import Scope, profile_of_outcomes
from tidemill.processors.drift.declaration import check_policy
from tidemill.processors.drift.fairness_alarms import fairness_alarms
from tidemill.processors.drift.incident import Span
from tidemill.processors.drift.policy import DriftPolicy
from tidemill.processors.drift.windows import Merged, WindowKey
from tidemill.processors.online_inference import Target
from tidemill.schemas.errors import DeclarationError

CLASSES = Target((False, True))
DECLARED = [tm.group_fairness("sex", threshold=0.1)]


def outcomes(name, shift, rows=1_000, seed=0):
    rng = np.random.default_rng(seed)
    second = np.clip(rng.random(rows) + shift, 0, 1)
    table = pa.table(
        {
            **CLASSES.answers(np.column_stack([1 - second, second])),
            "label": rng.random(rows) < 0.5,
            "model_version": ["v"] * rows,
        }
    )
    return profile_of_outcomes(table, CLASSES, Scope("p", 0, 1_000, "v", name))


def window(shift, rows=1_000):
    return {
        "sex=f": outcomes("sex=f", shift, rows),
        "sex=m": outcomes("sex=m", -shift, rows, 1),
        "sexton=x": outcomes("sexton=x", 0.5, rows, 2),
    }


def test_groups_that_are_far_apart():
    ((alarm,), looked) = fairness_alarms(DECLARED, window(0.2))
    assert (alarm.kind, alarm.subject, alarm.detector, alarm.slice) == ("fairness", "sex", "equalised_odds", "")
    assert alarm.severity == "critical"
    assert 0.3 < alarm.statistic < 0.6
    assert "Groups by sex are apart by 0." in alarm.message
    assert "2,000 outcomes of 2 groups" in alarm.message
    assert set(json.loads(alarm.evidence)["rates"]) == {"sex=f", "sex=m"}
    assert looked == {("fairness", "")}


def test_groups_that_are_alike_or_too_small():
    assert fairness_alarms(DECLARED, window(0.0)) == ([], {("fairness", "")})
    assert fairness_alarms(DECLARED, window(0.2, rows=10)) == ([], set())
    assert fairness_alarms([tm.concept_drift()], window(0.2)) == ([], set())


def test_the_policy_judges_windows_of_outcomes():
    policy = DriftPolicy(DECLARED, lambda version: {}, CLASSES)
    profiles = {
        WindowKey(0, 1_000, "outcomes", name, "v"): Merged(profile, {}) for name, profile in window(0.2).items()
    }
    assert [alarm.kind for alarm in policy.window(Span(0, 1_000), "outcomes", profiles).alarms] == ["fairness"]


def test_what_is_declared_is_checked():
    with pytest.raises(DeclarationError, match="did you mean 'equalised_odds'"):
        tm.group_fairness("sex", "equalized_odds")
    with pytest.raises(DeclarationError, match="needs labels that are classes"):
        check_policy(DECLARED, model=True, labels=True, classes=False)
    check_policy([*DECLARED, tm.group_fairness("age")], model=True, labels=True, classes=True)
    with pytest.raises(DeclarationError, match="declared twice"):
        check_policy([*DECLARED, *DECLARED], model=True, labels=True, classes=True)


def test_the_field_must_be_one_by_which_profiles_are_sliced():
    text = {"name": "id", "type": "string"}
    fields = [text, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]

    def plan(slices):
        pipeline = tm.Pipeline(
            "p",
            tm.Events(
                {"type": "record", "name": "E", "fields": [*fields, {"name": "sex", "type": "string"}]},
                key="id",
                time="at",
                id="id",
            ),
            features=[tm.fields("sex")],
            model=tm.Model(DummyClassifier(), ["sex"]),
            labels=tm.Labels(
                {"type": "record", "name": "L", "fields": [text, {"name": "late", "type": "boolean"}]},
                id="id",
                label=pl.col("late"),
            ),
            profiles=tm.Profiles(slices=slices),
            drift=DECLARED,
        )
        return pipeline.plan()

    plan(["sex"])
    with pytest.raises(DeclarationError, match="fairness names a column 'sex' that is not there"):
        plan([])
