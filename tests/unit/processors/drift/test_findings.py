import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.drift import (
    Finding,
    Rate,
    Scope,
    compare_profiles,
    compare_rejections,
    distance_named,
    judged,
    merge_all,
    profile_of,
    profile_of_predictions,
)
from tidemill.processors.drift.distances import DISTANCES
from tidemill.processors.online_inference import Target
from tidemill.schemas.errors import DeclarationError

DAY = Scope("p", 0, 1)


def rows(seed, count, shift=0.0, missing=0.02, carrier=("AA", "UA")):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "delay": pa.array(rng.normal(shift, 1, count), mask=rng.random(count) < missing),
            "stops": rng.integers(0, 3, count),
            "carrier": rng.choice(carrier, count),
        }
    )


def profile(*arguments, **options):
    return profile_of(rows(*arguments, **options), "features", ["delay", "stops", "carrier"], DAY)


def alarms(found):
    return [(finding.kind, finding.subject) for finding in found if finding.alarm]


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_what_has_drifted_is_found_and_nothing_else(name):
    reference, now = profile(1, 20_000), profile(2, 2_000, shift=1.0)
    assert alarms(compare_profiles(reference, now, [name])) == [("data_drift", "delay")]
    assert alarms(compare_profiles(reference, profile(3, 2_000), [name])) == []


def test_every_column_and_its_missing_values_are_compared():
    found = compare_profiles(profile(1, 500), profile(2, 500), ["psi", "ks"])
    assert [(f.kind, f.subject, f.detector) for f in found] == [
        ("data_drift", "delay", "psi"),
        ("data_drift", "delay", "ks"),
        ("missing_rate", "delay", "two_proportions"),
        ("data_drift", "stops", "psi"),
        ("data_drift", "stops", "ks"),
        ("missing_rate", "stops", "two_proportions"),
        ("data_drift", "carrier", "psi"),
        ("missing_rate", "carrier", "two_proportions"),
    ]
    assert all(f.kind == "data_drift" for f in compare_profiles(profile(1, 500), profile(2, 500), missing=None))


def test_a_new_category_and_missing_values():
    reference = profile(1, 20_000)
    assert alarms(compare_profiles(reference, profile(2, 1_000, carrier=("AA", "UA", "B6")))) == [
        ("data_drift", "carrier")
    ]
    assert alarms(compare_profiles(reference, profile(2, 1_000, missing=0.2))) == [("missing_rate", "delay")]


def test_a_constant_that_moves_to_either_side():
    def constant(value):
        return profile_of(pa.table({"x": np.full(1_000, value)}), "features", ["x"], DAY)

    for value in (-3.0, 2.9, 3.1, 4e9):
        for name in DISTANCES:
            assert alarms(compare_profiles(constant(3.0), constant(value), [name])) == [("data_drift", "x")]
            assert alarms(compare_profiles(constant(value), constant(value), [name])) == []


def test_many_categories_are_compared_by_their_hash():
    def of(seed, first):
        tails = np.random.default_rng(seed).zipf(1.5, 20_000) % 3_000 + first
        return profile_of(pa.table({"tail": tails.astype(str)}), "features", ["tail"], DAY)

    assert not of(1, 0).categories["tail"].exact
    assert alarms(compare_profiles(of(1, 0), of(2, 0))) == []
    assert alarms(compare_profiles(of(1, 0), of(2, 5))) == [("data_drift", "tail")]


def test_more_rows_make_no_alarm_of_a_small_effect():
    reference, now = profile(1, 20_000), profile(2, 20_000, shift=0.1)
    large = merge_all([now] * 200)
    for name in DISTANCES:
        finding = compare_profiles(reference, large, [name])[0]
        assert finding.p_value < 1e-6
        assert not finding.alarm
    assert compare_profiles(reference, large, {"psi": 0.001})[0].alarm


def test_few_rows_make_no_alarm_of_chance():
    reference = profile(1, 20_000)
    effects = []
    for seed in range(60):
        found = compare_profiles(reference, profile(100 + seed, 20), ["psi", "ks", "wasserstein"])
        effects += [abs(finding.effect) >= finding.threshold for finding in found]
        assert alarms(found) == []
    assert any(effects)


def test_nothing_to_compare_is_no_alarm():
    for found in (
        compare_profiles(profile(1, 100), profile(2, 0), list(DISTANCES)),
        compare_profiles(profile(1, 0), profile(2, 100), list(DISTANCES)),
    ):
        assert len(found) == 5 + 1 + 5 + 1 + 3 + 1
        assert alarms(found) == []


def test_of_two_probabilities_one_is_compared():
    p = np.random.default_rng(1).random(100)
    table = pa.table({"value": p > 0.5, "probability_false": 1 - p, "probability_true": p})
    made = profile_of_predictions(table, Target((False, True)), DAY)
    found = compare_profiles(made, made, missing=None)
    assert [(f.kind, f.subject) for f in found] == [
        ("prediction_drift", "probability_true"),
        ("prediction_drift", "value"),
    ]


def test_a_test_without_a_p_value_is_judged_by_its_effect():
    found = [Finding("data_drift", "x", "mine", 1.0, p_value, 0.5, 0.2) for p_value in (None, 0.9, 1e-9)]
    assert [finding.alarm for finding in judged(found)] == [True, False, True]


def test_rejections():
    assert compare_rejections(Rate(10, 10_000), Rate(300, 10_000)).alarm
    assert not compare_rejections(Rate(10, 10_000), Rate(1, 10)).alarm
    assert not compare_rejections(Rate(1_000, 100_000), Rate(12_000, 1_000_000)).alarm
    assert not compare_rejections(Rate(0, 0), Rate(0, 0)).alarm


def test_names_of_distances():
    assert distance_named("psi").threshold == 0.2
    with pytest.raises(DeclarationError, match="there is no distance 'wasserstien'; did you mean 'wasserstein'"):
        distance_named("wasserstien")
    with pytest.raises(DeclarationError, match="expected columns of numbers"):
        DISTANCES["ks"].compare(*[profile(1, 5).categories["carrier"]] * 2)
