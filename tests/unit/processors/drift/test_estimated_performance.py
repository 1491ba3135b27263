import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.drift import ClassQuality, Scope, compare_estimate, estimate, profile_of_predictions
from tidemill.processors.online_inference import Target
from tidemill.schemas.errors import DeclarationError

DAY = Scope("p", 0, 1)
LATE = Target((False, True))


def pairs(p):
    return np.column_stack([1 - p, p])


def profile(scores, target=LATE):
    return profile_of_predictions(pa.table(target.answers(scores)), target, DAY)


def happened(rng, chances):
    return (rng.random(len(chances)) < chances).astype(np.int64)


@pytest.mark.parametrize("shape", [(0.3, 3.0), (2.0, 2.0), (5.0, 0.2), (0.05, 0.05)])
@pytest.mark.parametrize("power", [1.0, 1.7])
def test_estimates_are_what_labels_show_later(shape, power):
    """Scores of another distribution than in the evaluation, by a model that is calibrated, or overrates itself."""
    rng = np.random.default_rng(7)
    before, later = np.clip(rng.beta(1, 1, 50_000), 1e-6, 1 - 1e-6), np.clip(rng.beta(*shape, 50_000), 1e-6, 1 - 1e-6)
    reference = ClassQuality.of(pairs(before), happened(rng, before**power))
    shown = ClassQuality.of(pairs(later), happened(rng, later**power)).metrics()
    found = estimate(reference, profile(pairs(later)), LATE)
    assert found.estimated
    assert found.rows == 50_000
    assert found.metrics == pytest.approx({name: shown[name] for name in found.metrics}, abs=0.015, rel=0.03)
    assert set(found.metrics) == {"log_loss", "brier", "accuracy", "auc"}


def test_standard_errors_are_those_of_repeated_draws():
    rng = np.random.default_rng(3)
    p = rng.beta(1, 3, 500)
    reference = ClassQuality.of(pairs(q := rng.beta(1, 3, 100_000)), happened(rng, q))
    drawn = [ClassQuality.of(pairs(s := rng.beta(1, 3, 500)), happened(rng, s)).metrics() for _ in range(400)]
    found = estimate(reference, profile(pairs(p)), LATE)
    for name, error in found.errors.items():
        assert error == pytest.approx(np.std([metrics[name] for metrics in drawn]), rel=0.15)


def test_harder_events_raise_an_alarm_and_more_of_them_change_nothing():
    rng = np.random.default_rng(5)
    before = rng.beta(0.2, 0.2, 20_000)
    reference = ClassQuality.of(pairs(before), happened(rng, before))
    for rows in (2_000, 200_000):
        worse = compare_estimate(reference, estimate(reference, profile(pairs(rng.beta(2, 2, rows))), LATE))
        same = compare_estimate(reference, estimate(reference, profile(pairs(rng.beta(0.2, 0.2, rows))), LATE))
        assert (worse.kind, worse.subject, worse.alarm) == ("estimated_performance", "log_loss", True)
        assert worse.effect > 0.5
        assert not same.alarm
    few = compare_estimate(reference, estimate(reference, profile(pairs(rng.beta(0.2, 0.2, 5))), LATE))
    assert not few.alarm


def test_of_three_classes_the_accuracy():
    target = Target(("a", "b", "c"))
    rng = np.random.default_rng(1)

    def draw(weights, rows):
        scores = rng.dirichlet(weights, rows)
        return scores, (rng.random((rows, 1)) > scores.cumsum(axis=1)).sum(axis=1)

    reference = ClassQuality.of(*draw([1, 1, 1], 30_000))
    later, labels = draw([0.3, 0.3, 0.3], 30_000)
    found = estimate(reference, profile(later, target), target)
    assert found.metrics == pytest.approx({"accuracy": ClassQuality.of(later, labels).metrics()["accuracy"]}, abs=0.01)
    assert compare_estimate(reference, found).subject == "accuracy"


def test_nothing_is_estimated_of_nothing():
    reference = ClassQuality.of(pairs(np.array([0.5])), np.array([1]))
    nothing = estimate(reference, profile(np.empty((0, 2))), LATE)
    assert (nothing.rows, nothing.metrics) == (0, {})
    assert not compare_estimate(reference, nothing).alarm
    some = estimate(ClassQuality.empty(2), profile(pairs(np.array([0.2, 0.4]))), LATE)
    assert some.metrics["accuracy"] == pytest.approx(0.7, rel=0.01)
    with pytest.raises(DeclarationError, match="a regression has none"):
        estimate(reference, profile(np.array([[1.0]]), Target()), Target())
