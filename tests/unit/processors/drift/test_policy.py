import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.drift import declaration as tm
from tidemill.processors.drift.incident import Span
from tidemill.processors.drift.policy import DriftPolicy
from tidemill.processors.drift.profile import OutcomeBlock, Scope, profile_of, profile_of_outcomes
from tidemill.processors.drift.sequences import Sequenced
from tidemill.processors.drift.windows import Merged, WindowKey
from tidemill.processors.online_inference.target import Target

DAY = 86_400_000
TARGET = Target((False, True), 0.5)


def features(seed, rows=4_000, shift=0.0, missing=0.0, slice="", day=0):  # noqa: A002
    chance = np.random.default_rng(seed)
    columns = {f"f{i}": chance.normal(size=rows) for i in range(20)}
    columns["f0"] = columns["f0"] + shift
    columns["carrier"] = chance.choice(["AA", "UA", "WN"], rows)
    table = pa.table(columns)
    holes = pa.array(chance.random(rows) < missing)
    table = table.set_column(1, "f1", pa.compute.if_else(holes, None, table["f1"]))
    return profile_of(table, "features", table.column_names, Scope("p", day * DAY, (day + 1) * DAY, slice))


def outcomes(wrong, rows=1_000, slice="", day=0):  # noqa: A002
    labels = np.arange(rows) >= wrong * rows
    table = pa.table(
        {
            "value": pa.array([True] * rows),
            "probability_false": np.full(rows, 0.2),
            "probability_true": np.full(rows, 0.8),
            "label": labels,
        }
    )
    return profile_of_outcomes(table, TARGET, Scope("p", day * DAY, (day + 1) * DAY, slice, "v1"))


def predictions(scores):
    table = pa.table(
        {"value": scores > 0.5, "probability_false": 1 - scores, "probability_true": scores},
    )
    return profile_of(
        table,
        "predictions",
        table.column_names,
        Scope("p", 0, DAY, "", "v1"),
        as_categories=("value",),
    )


class Stand:
    """A policy with a reference, and windows that are put before it."""

    def __init__(self, *declared, reference=(), target=TARGET):
        known = {(each.kind, each.scope.slice): each for each in reference}
        self.asked = []
        self.policy = DriftPolicy(declared, lambda version: known if version == "v1" else {}, target)
        self.window(predictions(np.linspace(0, 1, 100)))

    def window(self, *profiles):
        (kind,) = {profile.kind for profile in profiles}
        scope = profiles[0].scope
        found = {
            WindowKey(scope.window_start, scope.window_end, kind, each.scope.slice, each.scope.model_version): Merged(
                each, {}
            )
            for each in profiles
        }
        return self.policy.window(Span(scope.window_start, scope.window_end), kind, found)

    def outcomes(self, errors, start=0, rows=1, slice="", version="v1"):  # noqa: A002
        found = []
        for i, wrong in enumerate(errors):
            time = 1_000 * (start + i)
            block = OutcomeBlock(time, rows, int(wrong), float(wrong))
            found += self.policy.outcomes([Sequenced(time, 0, start + i, 0, slice, version, block)])
        return found


def test_features_as_in_training_are_quiet_and_covered():
    stand = Stand(tm.data_drift(), tm.missing_rate(), reference=[features(1)])
    judged = stand.window(features(2))
    assert judged.alarms == []
    assert judged.covered == {("data_drift", ""), ("missing_rate", "")}


def test_a_feature_that_has_moved_is_named_with_its_sketches():
    stand = Stand(tm.data_drift(), reference=[features(1)])
    (alarm,) = stand.window(features(2, shift=0.8)).alarms
    assert (alarm.kind, alarm.subject, alarm.slice, alarm.detector) == ("data_drift", "f0", "", "psi")
    assert (alarm.severity, alarm.reference) == ("critical", "v1")
    assert alarm.statistic >= alarm.threshold
    assert "f0 is distributed otherwise than in the reference (psi" in alarm.message
    assert json.loads(alarm.evidence)["now"]["p50"] == pytest.approx(0.8, abs=0.1)


def test_more_rows_do_not_make_a_small_difference_an_alarm():
    stand = Stand(tm.data_drift(), reference=[features(1, rows=100_000)])
    assert stand.window(features(2, rows=100_000, shift=0.1)).alarms == []


def test_a_large_difference_of_a_few_rows_is_no_alarm():
    stand = Stand(tm.data_drift(), reference=[features(1)])
    judged = stand.window(features(2, rows=15))
    assert judged.alarms == []


def test_columns_can_be_chosen():
    stand = Stand(tm.data_drift("ks", threshold=0.1, columns=["f3"]), reference=[features(1)])
    assert stand.window(features(2, shift=3.0)).alarms == []


def test_missing_values_are_told_in_shares():
    stand = Stand(tm.missing_rate(), reference=[features(1)])
    (alarm,) = stand.window(features(2, missing=0.1)).alarms
    assert (alarm.kind, alarm.subject) == ("missing_rate", "f1")
    assert alarm.message.startswith("f1 is missing in ")


def test_slices_are_compared_with_their_own_reference():
    stand = Stand(tm.data_drift(), reference=[features(1), features(3, shift=2.0, slice="origin=JFK")])
    judged = stand.window(features(2), features(4, shift=2.0, slice="origin=JFK"), features(5, slice="origin=new"))
    assert judged.alarms == []
    assert judged.covered == {("data_drift", ""), ("data_drift", "origin=JFK")}


def test_without_a_reference_nothing_is_said_or_covered():
    judged = Stand(tm.data_drift(), tm.missing_rate()).window(features(1))
    assert (judged.alarms, judged.covered) == ([], set())


def test_predictions_that_have_moved_are_found():
    stand = Stand(tm.prediction_drift(), reference=[predictions(np.linspace(0, 1, 1_000))])
    moved = stand.window(predictions(np.linspace(0, 1, 1_000) ** 3))
    assert {alarm.kind for alarm in moved.alarms} == {"prediction_drift"}
    assert stand.window(predictions(np.linspace(0, 1, 900))).alarms == []


def test_a_loss_that_scores_say_will_rise_is_an_estimate():
    stand = Stand(tm.estimated_performance(), reference=[outcomes(0.2), predictions(np.full(1_000, 0.8))])
    assert stand.window(predictions(np.full(1_000, 0.8))).alarms == []
    judged = stand.window(predictions(np.full(1_000, 0.6)))
    (alarm,) = judged.alarms
    assert (alarm.kind, alarm.estimated, alarm.slice) == ("estimated_performance", True, "")
    assert "labels have not confirmed it" in alarm.message
    assert judged.covered == {("estimated_performance", "")}


def errors(seed, rate, rows):
    return np.random.default_rng(seed).random(rows) < rate


def test_more_errors_are_found_with_the_time_of_their_beginning():
    stand = Stand(tm.concept_drift())
    assert stand.outcomes(errors(1, 0.2, 2_000)) == []
    found = stand.outcomes(errors(2, 0.5, 500), start=2_000)
    (span, alarm), *others = found
    assert others == []
    assert abs(span.start - 2_000_000) < 30_000
    assert span.end < 2_200_000
    assert (alarm.kind, alarm.subject, alarm.detector, alarm.severity) == (
        "concept_drift",
        "errors",
        "shiryaev_roberts",
        "critical",
    )
    assert "Predictions are wrong in" in alarm.message
    seen = json.loads(alarm.evidence)
    assert seen["before"]["total"] / seen["before"]["rows"] == pytest.approx(0.2, abs=0.03)


def test_fewer_errors_are_no_alarm():
    for name in ("shiryaev_roberts", "adwin"):
        stand = Stand(tm.concept_drift(name))
        assert stand.outcomes(np.r_[errors(1, 0.5, 2_000), errors(2, 0.1, 2_000)]) == []


def test_errors_as_many_as_in_the_evaluation_are_quiet_and_more_are_found_at_once():
    for rate, alarms in ((0.2, 0), (0.5, 1)):
        stand = Stand(tm.concept_drift(), reference=[outcomes(0.2)])
        assert len(stand.outcomes(errors(3, rate, 300))) == alarms


def test_a_drift_lasts_while_windows_are_worse_than_before_and_ends_when_they_are_not():
    stand = Stand(tm.concept_drift())
    stand.outcomes(np.r_[errors(1, 0.2, 2_000), errors(2, 0.5, 300)])
    bad, good = stand.window(outcomes(0.5, day=1)), stand.window(outcomes(0.2, day=2))
    assert [alarm.subject for alarm in bad.alarms] == ["errors"]
    assert bad.covered == {("concept_drift", "")}
    assert (good.alarms, good.covered) == ([], {("concept_drift", "")})
    assert len(stand.window(outcomes(0.5, day=3)).alarms) == 1
    for day in (4, 5, 6):
        assert stand.window(outcomes(0.2, day=day)).alarms == []
    assert stand.window(outcomes(0.5, day=7)).alarms == []


def test_a_window_from_before_the_drift_says_nothing_of_it():
    stand = Stand(tm.concept_drift())
    stand.outcomes(np.r_[errors(1, 0.2, 2_000), errors(2, 0.5, 300)], start=200_000)
    assert stand.window(outcomes(0.5, day=0)).alarms == []


def test_what_the_whole_shows_is_not_told_again_of_its_slices():
    parts = ("origin=EWR", "origin=JFK")
    stand = Stand(tm.data_drift(), reference=[features(1), *(features(3, slice=part) for part in parts)])
    judged = stand.window(features(2, shift=2.0), *(features(4, shift=2.0, slice=part) for part in parts))
    assert [(alarm.subject, alarm.slice) for alarm in judged.alarms] == [("f0", "")]
    assert ("data_drift", "origin=JFK") in judged.covered
    judged = stand.window(features(2), features(4, shift=2.0, slice=parts[0]), features(4, slice=parts[1]))
    assert [(alarm.subject, alarm.slice) for alarm in judged.alarms] == [("f0", "origin=EWR")]


def test_a_concept_that_drifts_as_a_whole_is_not_told_again_of_its_slices():
    stand = Stand(tm.concept_drift(), reference=[outcomes(0.2)])
    assert len(stand.outcomes(errors(2, 0.5, 300))) == 1
    assert stand.outcomes(errors(2, 0.5, 300), slice="origin=JFK") == []
    told = stand.window(outcomes(0.5), outcomes(0.5, slice="origin=JFK")).alarms
    assert [alarm.slice for alarm in told] == [""]


def limit_of(stand, **where):
    (_, alarm), *_ = stand.outcomes(errors(2, 0.6, 400), **where)
    return json.loads(alarm.evidence)["limit"]


def test_many_outcomes_in_a_window_do_not_mean_many_alarms():
    few, many, declared = (
        Stand(tm.concept_drift()),
        Stand(tm.concept_drift()),
        Stand(tm.concept_drift(rows_per_alarm=9_000)),
    )
    for stand in (few, many, declared):
        stand.outcomes(errors(1, 0.2, 2_000))
    few.window(outcomes(0.2, rows=1_000))
    for stand in (many, declared):
        stand.window(outcomes(0.2, rows=100_000))
    kept = json.loads(json.dumps(many.policy.save()))
    assert limit_of(few, start=2_000) == 45_000
    assert limit_of(declared, start=2_000) == 9_000
    assert limit_of(many, start=2_000) == 30 * 100_000
    again = Stand(tm.concept_drift())
    again.policy.restore(kept)
    assert limit_of(again, start=2_000) == 30 * 100_000


def test_slices_are_ten_times_surer():
    stand = Stand(tm.concept_drift(), reference=[outcomes(0.2)])
    assert limit_of(stand, slice="origin=JFK") == 450_000


def test_an_alarm_is_over_when_another_model_takes_over():
    stand = Stand(tm.concept_drift(), reference=[outcomes(0.2)])
    assert len(stand.outcomes(errors(2, 0.5, 300))) == 1
    assert len(stand.window(outcomes(0.5)).alarms) == 1
    stand.outcomes(errors(2, 0.5, 1), start=300, version="v2")
    judged = stand.window(outcomes(0.5, day=1))
    assert (judged.alarms, ("concept_drift", "") in judged.covered) == ([], True)


def test_slices_and_versions_have_detectors_of_their_own():
    stand = Stand(tm.concept_drift())
    stand.outcomes(errors(1, 0.2, 2_000), slice="origin=JFK")
    assert stand.outcomes(errors(2, 0.5, 300), start=2_000, slice="origin=EWR") == []
    assert stand.outcomes(errors(2, 0.5, 300), start=2_000, slice="origin=JFK", version="v2") == []
    ((_, alarm),) = stand.outcomes(errors(2, 0.5, 300), start=2_000, slice="origin=JFK")
    assert (alarm.slice, alarm.reference) == ("origin=JFK", "v1")


def test_losses_are_watched_where_there_are_no_classes():
    stand = Stand(tm.concept_drift(), target=Target((), 0.5))
    chance = np.random.default_rng(1)
    blocks = [OutcomeBlock(1_000 * i, 1, 0, float(x)) for i, x in enumerate(chance.exponential(1, 2_000))]
    blocks += [OutcomeBlock(2_000_000 + i, 1, 0, float(x)) for i, x in enumerate(chance.exponential(3, 300))]
    found = stand.policy.outcomes([Sequenced(b.time, 0, i, 0, "", "v1", b) for i, b in enumerate(blocks)])
    ((_, alarm),) = found
    assert (alarm.subject, alarm.kind) == ("loss", "concept_drift")
    assert "mean loss" in alarm.message


def rejected(rows, day):
    return replace(features(1, rows=max(rows, 1), day=day), kind="rejections", rows=rows)


def test_a_rising_share_of_rejections_is_found_against_the_windows_before():
    stand = Stand(tm.rejection_rate())
    for day in range(5):
        stand.window(features(day, day=day))
        judged = stand.window(rejected(40, day))
        assert judged.alarms == []
    assert judged.covered == {("rejection_rate", "")}
    stand.window(features(5, day=5))
    (alarm,) = stand.window(rejected(800, 5)).alarms
    assert alarm.message == "16.7 % of 4,800 events were rejected; in the windows before it was 1.0 %."
    stand.window(features(6, day=6))
    assert len(stand.window(rejected(800, 6)).alarms) == 1


def test_what_lasts_becomes_usual():
    stand = Stand(tm.rejection_rate())
    for day in range(5):
        stand.window(features(day, day=day))
        stand.window(rejected(40, day))
    loud = []
    for day in range(5, 50):
        stand.window(features(1, day=day))
        loud.append(len(stand.window(rejected(800, day)).alarms))
    assert loud[:14] == [1] * 14
    assert loud[-1] == 0


@pytest.mark.parametrize("name", ["shiryaev_roberts", "adwin"])
@pytest.mark.parametrize("cut", [0, 1, 700, 2_010])
def test_a_saved_policy_goes_on_as_if_nothing_had_been(name, cut):
    def make():
        return Stand(tm.concept_drift(name), tm.rejection_rate(), tm.data_drift(), reference=[outcomes(0.2)])

    sequence = np.r_[errors(1, 0.2, 2_000), errors(2, 0.5, 400)]
    whole = make()
    expected = whole.outcomes(sequence)
    one, other = make(), make()
    found = one.outcomes(sequence[:cut])
    other.policy.restore(json.loads(json.dumps(one.policy.save())))
    found += other.outcomes(sequence[cut:], start=cut)
    assert found == expected
    assert other.policy.save() == whole.policy.save()
    assert len(expected) == 1


def test_what_is_saved_is_small():
    stand = Stand(tm.concept_drift())
    stand.outcomes(errors(1, 0.2, 5_000))
    assert len(json.dumps(stand.policy.save())) < 20_000
