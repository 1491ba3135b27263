"""The policy: that it does not peek, that blocks change nothing, budgets, promotions, rollbacks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidemill.processors.adaptation import Adaptation, Budget, Estimator, Kind, Settings
from tidemill.processors.adaptation.estimators import ESTIMATORS, Predictor, fit
from tidemill.processors.adaptation.packed import pack, unpack
from tidemill.schemas.errors import DeclarationError

QUICK = Settings(trees=3)


def made(count: int, turn: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(count, 4))
    labels = rows[:, 0] + rows[:, 1] > 0
    if turn is not None:
        labels ^= np.arange(count) >= turn
    return rows, labels.astype(np.int64)


def constant(estimator: Estimator, rows: np.ndarray, labels: np.ndarray, classes: int, _: tuple[int, int]) -> Predictor:
    """A fit that costs nothing: the shares of the classes."""
    shares = (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)
    return lambda asked: np.tile(shares, (len(asked), 1))


def policy(
    rows: int, fitter: Callable[..., Predictor] = constant, *, first: int = 300, rate: float = 0.1, **budget: int
) -> Adaptation:
    tenth = rows // 10
    intervals = {"growth": 100.0, "refit_every": tenth, "recent": tenth, "after_alarm": (100, max(rows // 25, 100))}
    settings = replace(QUICK, rate=rate, first=first, probation=600, **intervals)
    return Adaptation(4, 2, budget=Budget(rows, **budget), settings=settings, fitter=fitter)


def run(adaptation: Adaptation, rows: np.ndarray, labels: np.ndarray, delay: int) -> np.ndarray:
    known = len(rows) - delay
    first = adaptation.predict(rows[:delay])
    return np.concatenate([first, adaptation.interleave(rows[delay:], rows[:known], labels[:known])])


def acts(adaptation: Adaptation) -> list[tuple[Kind, int, str]]:
    return [(event.kind, event.row, event.reason) for event in adaptation.events]


def real(estimator: Estimator, rows: np.ndarray, labels: np.ndarray, classes: int, _: tuple[int, int]) -> Predictor:
    cheap = next(e for e in ESTIMATORS if e.name == "linear")
    return fit(cheap, rows, labels, classes)


@pytest.mark.parametrize("delay", [0, 30])
def test_labels_that_are_not_known_yet_change_no_answer(delay: int) -> None:
    rows, labels = made(1_200, turn=700)
    first = run(policy(1_200, real), rows, labels, delay)
    for t in (0, 450, 900):
        altered = labels.copy()
        # Row t is answered by labels 0 … t - 1 - delay.
        altered[max(t - delay, 0) :] ^= 1
        second = run(policy(1_200, real), rows, altered, delay)
        assert np.array_equal(first[: t + 1], second[: t + 1])
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("delay", [0, 30])
def test_interleaved_is_the_same_as_one_by_one(delay: int) -> None:
    rows, labels = made(900, turn=500)
    quick, slow = policy(900, real), policy(900, real)
    answers = run(quick, rows, labels, delay)
    for i in range(len(rows)):
        assert np.array_equal(slow.predict(rows[i : i + 1])[0], answers[i])
        if i >= delay:
            slow.learn(rows[i - delay : i - delay + 1], labels[i - delay : i - delay + 1])
    assert acts(slow) == acts(quick)


def test_blocks_change_nothing() -> None:
    rows, labels = made(1_500, turn=900)
    whole, parts = policy(1_500, real), policy(1_500, real)
    whole.learn(rows, labels)
    at, chance = 0, np.random.default_rng(1)
    while at < 1_500:
        step = int(chance.integers(1, 130))
        parts.predict(rows[:3])
        parts.learn(rows[at : at + step], labels[at : at + step])
        at += step
    assert acts(parts) == acts(whole)
    assert parts.learnt == whole.learnt == 1_500
    assert np.array_equal(parts.predict(rows), whole.predict(rows))


def test_it_follows_a_concept_that_turns_round() -> None:
    rows, labels = made(4_000, turn=2_000)
    adaptation = policy(4_000, real, first=400)
    right = run(adaptation, rows, labels, 20).argmax(axis=1) == labels
    assert right[1_500:2_000].mean() > 0.9
    assert right[3_500:].mean() > 0.9
    alarms = [event for event in adaptation.events if event.kind is Kind.ALARM]
    assert len(alarms) == 1
    assert 2_000 < alarms[0].row < 2_100
    assert abs(alarms[0].figures["change"] - 2_000) < 50


def test_with_labels_that_mean_nothing_it_answers_the_commonest_class() -> None:
    rows, _ = made(3_000)
    labels = (np.random.default_rng(3).random(3_000) < 0.25).astype(np.int64)
    found = run(policy(3_000, real), rows, labels, 0).argmax(axis=1)[300:] == labels[300:]
    assert found.mean() == pytest.approx(0.75, abs=0.04)


def scripted(good: Callable[[int], bool]) -> Callable[..., Predictor]:
    """Fits that are right, or as wrong as can be, by how often something was fitted before, and since when."""
    state = {"fits": 0}

    def fitter(estimator: Estimator, rows: np.ndarray, labels: np.ndarray, *_: object) -> Predictor:
        state["fits"] += 1
        sign = 1 if good(state["fits"]) else -1

        def predict(asked: np.ndarray) -> np.ndarray:
            up = 1 / (1 + np.exp(-sign * 8 * (asked[:, 0] + asked[:, 1])))
            return np.column_stack([1 - up, up])

        return predict

    return fitter


def kinds(adaptation: Adaptation) -> list[Kind]:
    return [event.kind for event in adaptation.events]


def test_better_models_are_promoted_and_worse_ones_refused() -> None:
    rows, labels = made(4_000)
    better = policy(4_000, scripted(lambda fits: fits > 2), rate=0.001)
    better.learn(rows, labels)
    assert kinds(better).count(Kind.PROMOTION) >= 1
    assert better.promotions == kinds(better).count(Kind.PROMOTION) + kinds(better).count(Kind.ROLLBACK)
    worse = policy(4_000, scripted(lambda fits: fits <= 2), rate=0.001)
    worse.learn(rows, labels)
    assert worse.promotions == 0
    assert kinds(worse).count(Kind.REFUSAL) >= 5
    assert worse.fits == kinds(worse).count(Kind.FIT)


def test_a_promotion_that_turns_out_worse_is_rolled_back() -> None:
    rows, labels = made(4_000)
    spoilt = rows.copy()
    spoilt[:, 2] = 0
    adaptation = policy(4_000, _spoils_later(), rate=0.001)
    before = set()
    for at in range(0, 4_000, 50):
        if adaptation.promotions == 0:
            before = {name for name, _ in adaptation.champion.values()}
        adaptation.learn(spoilt[at : at + 50], labels[at : at + 50])
        if adaptation.promotions == 1:
            assert {name for name, _ in adaptation.champion.values()} != before
            spoilt[:, 2] = 1
        if adaptation.promotions == 2:
            break
    assert [kind for kind in kinds(adaptation) if kind in (Kind.PROMOTION, Kind.ROLLBACK)] == [
        Kind.PROMOTION,
        Kind.ROLLBACK,
    ]
    assert {name for name, _ in adaptation.champion.values()} == before


def _spoils_later() -> Callable[..., Predictor]:
    """The first models guess; later ones are right until the third feature is 1, and then wrong."""
    state = {"fits": 0}

    def fitter(estimator: Estimator, rows: np.ndarray, labels: np.ndarray, *_: object) -> Predictor:
        state["fits"] += 1
        known = state["fits"] > 2

        def predict(asked: np.ndarray) -> np.ndarray:
            up = 1 / (1 + np.exp(-8 * (asked[:, 0] + asked[:, 1]) * np.where(asked[:, 2] > 0.5, -1, 1) * known))
            return np.column_stack([1 - up, up])

        return predict

    return fitter


def test_the_budget_is_kept_and_leaves_a_promotion_for_a_rollback() -> None:
    rows, labels = made(4_000)
    adaptation = policy(4_000, scripted(lambda fits: fits % 7 > 2), promotions=2, fits=11)
    adaptation.learn(rows, labels)
    assert adaptation.promotions <= 2
    assert kinds(adaptation).count(Kind.PROMOTION) <= 1
    assert adaptation.fits <= 11


def test_the_budget_is_renewed_for_each_period() -> None:
    rows, labels = made(4_000)
    settings = replace(QUICK, first=300, growth=100.0, refit_every=200, recent=200)
    adaptation = Adaptation(4, 2, budget=Budget(1_000, fits=5), settings=settings, fitter=constant)
    adaptation.learn(rows, labels)
    fitted = [event.row // 1_000 for event in adaptation.events if event.kind is Kind.FIT]
    assert [fitted.count(period) for period in range(4)] == [5, 3, 3, 3]


def test_one_that_is_restored_learns_the_same_bits() -> None:
    rows, labels = made(2_500, turn=1_500)
    rows = rows.astype(np.float32).astype(np.float64)
    rows[::9, 1] = np.nan
    settings = replace(QUICK, first=300, growth=0.4, recent=300, after_alarm=(100, 300), probation=400)
    whole = Adaptation(4, 2, settings=settings)
    for at in (0, 130, 310, 777, 1_540, 1_700, 2_100):
        whole.learn(rows[whole.learnt : at], labels[whole.learnt : at])
        again = Adaptation(4, 2, settings=settings)
        again.restore(*unpack(pack(*whole.saved())))
        assert pack(*again.saved()) == pack(*whole.saved())
        before = len(whole.events)
        answers = whole.answer_and_learn(rows[at : at + 77], labels[at : at + 77])
        assert np.array_equal(again.answer_and_learn(rows[at : at + 77], labels[at : at + 77]), answers)
        assert pack(*again.saved()) == pack(*whole.saved())
        assert again.events == whole.events[before:]
    assert whole.fits > 8
    assert [event.kind for event in whole.events].count(Kind.ALARM) == 1


@pytest.mark.parametrize("wrong", [{"features": 0}, {"classes": 0}, {"settings": Settings(first=0)}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="at least 1"):
        Adaptation(**({"features": 2, "classes": 2} | wrong))


@pytest.mark.parametrize("labels", [[2], [-1], [0, 0]])
def test_labels_that_do_not_fit_are_refused(labels: Sequence[int]) -> None:
    with pytest.raises(DeclarationError, match="class code below 2"):
        policy(100).learn(np.zeros((1, 4)), np.array(labels))


def test_classes_that_a_window_lacks_have_no_probability() -> None:
    rows, labels = made(100)
    answers = fit(ESTIMATORS[2], rows, labels * 2, 4)(rows)
    assert answers.shape == (100, 4)
    assert np.all(answers[:, [1, 3]] == 0)
    assert np.array_equal(fit(ESTIMATORS[0], rows, labels * 0 + 1, 3)(rows[:2]), [[0, 1, 0]] * 2)
