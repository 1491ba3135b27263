import pytest

from tidemill.processors.drift.declaration import (
    Drift,
    check_policy,
    concept_drift,
    data_drift,
    default_policy,
    estimated_performance,
    missing_rate,
    prediction_drift,
    rejection_rate,
    severity_of,
)
from tidemill.schemas.errors import DeclarationError


def test_each_has_its_detector_and_threshold():
    assert [(d.kind, d.name, d.threshold) for d in default_policy(model=True, labels=True, classes=True)] == [
        ("data_drift", "psi", 0.2),
        ("missing_rate", "two_proportions", 0.2),
        ("rejection_rate", "two_proportions", 0.2),
        ("prediction_drift", "psi", 0.2),
        ("estimated_performance", "cbpe", 0.2),
        ("concept_drift", "shiryaev_roberts", 0.15),
    ]
    assert data_drift("ks", threshold=0.3).threshold == 0.3


def test_the_default_is_what_the_pipeline_has_something_for():
    assert default_policy(model=False, labels=True, classes=True) == ()
    kinds = [drift.kind for drift in default_policy(model=True, labels=False, classes=False)]
    assert kinds == ["data_drift", "missing_rate", "rejection_rate", "prediction_drift"]


@pytest.mark.parametrize("threshold", [0, -1, float("nan"), float("inf"), 101, True, "0.2"])
def test_a_threshold_is_a_number_above_zero(threshold):
    with pytest.raises(DeclarationError, match="expected an effect above 0"):
        data_drift(threshold=threshold)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: data_drift("psy"), "did you mean 'psi'"),
        (lambda: prediction_drift("kss"), "did you mean 'ks'"),
        (lambda: concept_drift("adwn"), "did you mean 'adwin'"),
        (lambda: concept_drift("adwin", delt=1), "cannot be made so"),
        (lambda: concept_drift(lambda: 3), "expected a function or class"),
        (lambda: Drift("data_drft", "psi", 0.2), "did you mean 'data_drift'"),
        (lambda: data_drift(columns="distance"), "expected a list of names"),
        (lambda: missing_rate(columns=[]), "expected a list of names"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_declared(make, said):
    with pytest.raises(DeclarationError, match=said):
        make()


def test_unknown_columns_are_refused():
    with pytest.raises(DeclarationError, match="did you mean 'distance'"):
        data_drift(columns=["distnace"]).check_columns(["distance", "origin"])


@pytest.mark.parametrize(
    ("declared", "pipeline", "said"),
    [
        ([concept_drift()], {"labels": False}, "needs labels"),
        ([data_drift()], {"model": False}, "add model="),
        ([estimated_performance()], {"classes": False}, "a regression has none"),
        ([concept_drift("ddm")], {"classes": False}, "takes errors"),
        ([rejection_rate(), rejection_rate()], {}, "declared twice"),
        ([data_drift(), data_drift()], {}, "declared twice"),
        (["psi"], {}, "tm.data_drift"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(declared, pipeline, said):
    with pytest.raises(DeclarationError, match=said):
        check_policy(declared, **{"model": True, "labels": True, "classes": True, **pipeline})


def test_several_detectors_and_columns_go_together():
    declared = [data_drift("psi"), data_drift("ks"), data_drift("psi", threshold=0.1, columns=["a"])]
    check_policy([*declared, concept_drift(), concept_drift("adwin")], model=True, labels=True, classes=True)


def test_twice_the_threshold_is_critical():
    assert [severity_of(effect, 0.2) for effect in (0.39, 0.4, -0.5)] == ["warning", "critical", "critical"]
