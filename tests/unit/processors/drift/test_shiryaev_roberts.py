import numpy as np
import pytest

from tidemill.processors.drift import shiryaev_roberts_kernel as kernel
from tidemill.processors.drift.levels import error_levels
from tidemill.processors.drift.shiryaev_roberts import FALL, RISES, ShiryaevRoberts
from tidemill.schemas.errors import DeclarationError


def errors(seed, *pieces):
    chance = np.random.default_rng(seed)
    return np.concatenate([chance.random(count) < rate for rate, count in pieces]).astype(float)


def by_definition(outcomes):
    """The evidence for a rise: the sum over baseline levels, changes and first changed rows, term by term."""
    ratios, weights = zip(*RISES["errors"], (FALL, 1.0), strict=True)
    levels = error_levels(ratios, weights)
    rates = 1 / (1 + np.exp(-levels.slopes))
    likely = np.where(outcomes[:, None, None] > 0, rates, 1 - rates)
    before = np.cumprod(np.vstack([np.ones((1, 1, rates.shape[1])), likely[:, :1]]), axis=0)[:, 0]
    total = 0.0
    for k in range(len(ratios) - 1):
        for first in range(len(outcomes)):
            after = likely[first:, k + 1].prod(axis=0)
            total += (levels.prior * levels.weights[k] * before[first] * after).sum()
    return total / (levels.prior * before[-1]).sum()


@pytest.mark.parametrize("seed", range(3))
def test_the_evidence_is_that_of_the_definition(seed):
    outcomes = errors(seed, (0.3, 60), (0.6, 30))
    detector = ShiryaevRoberts()
    for outcome in outcomes:
        detector.update(outcome)
    assert detector.statistic == pytest.approx(by_definition(outcomes), rel=1e-6)


def test_a_step_is_found_soon_with_its_beginning():
    delays, origins = [], []
    for seed in range(40):
        detector = ShiryaevRoberts()
        outcomes = errors(seed, (0.2, 3000), (0.4, 2000))
        at = detector.update_blocks(outcomes)
        assert at is not None
        if at < 3000:
            continue
        delays.append(at - 3000)
        origins.append(detector.change_point - 3000)
    assert len(delays) >= 37
    assert np.mean(delays) < 100
    assert abs(np.median(origins)) < 20


def test_many_at_once_are_one_after_the_other():
    outcomes = errors(5, (0.2, 1500), (0.5, 500))
    one, many = ShiryaevRoberts(), ShiryaevRoberts()
    first = None
    for i, outcome in enumerate(outcomes):
        one.update(outcome)
        if one.drift_detected:
            first = i
            break
    assert many.update_blocks(outcomes) == first
    assert (many.statistic, many.change_point, many.rows) == (one.statistic, one.change_point, one.rows)


@pytest.mark.parametrize("block", [4, 16, 64])
def test_blocks_delay_by_about_a_block(block):
    for seed in range(5):
        outcomes = errors(seed, (0.2, 4096), (0.5, 1024))
        one, blocks = ShiryaevRoberts(), ShiryaevRoberts()
        alone = one.update_blocks(outcomes)
        summed = outcomes.reshape(-1, block).sum(axis=1)
        together = blocks.update_blocks(summed, np.full(len(summed), block))
        assert together is not None
        assert alone is not None
        assert abs(together * block - alone) < 40 + 2 * block
        assert abs(blocks.change_point - 4096) < 64 + 2 * block


def test_it_arms_itself_again_at_the_new_level():
    detector = ShiryaevRoberts()
    outcomes = errors(3, (0.1, 2000), (0.3, 3000), (0.6, 500))
    first = detector.update_blocks(outcomes)
    second = first + 1 + detector.update_blocks(outcomes[first + 1 :])
    assert 2000 < first < 2300
    assert 5000 < second < 5200


def test_a_fall_is_no_alarm_but_a_new_baseline():
    detector = ShiryaevRoberts()
    assert detector.update_blocks(errors(4, (0.5, 2000), (0.1, 2000))) is None
    at = detector.update_blocks(errors(5, (0.3, 500)))
    assert at is not None
    assert at < 150


def test_improvement_is_said():
    detector, said = ShiryaevRoberts(), []
    for i, outcome in enumerate(errors(4, (0.5, 1000), (0.1, 500))):
        detector.update(outcome)
        if detector.improved:
            said.append(i)
    assert 1000 < said[0] < 1100
    assert len(said) == 1


def test_a_given_baseline_is_heeded_from_the_first_row():
    bad = errors(6, (0.4, 400))
    assert ShiryaevRoberts(baseline=(0.2, 50_000)).update_blocks(bad) is not None
    assert ShiryaevRoberts().update_blocks(bad) is None


def test_dependent_errors_weigh_less():
    chance = np.random.default_rng(7)

    def runs(count):
        """Errors at a rate of .2 that come in runs: the state is kept with probability .95."""
        state, found = False, np.empty(count)
        keep, fresh = chance.random(count) < 0.95, chance.random(count) < 0.2
        for i in range(count):
            state = state if keep[i] else fresh[i]
            found[i] = state
        return found

    detector, alarms, outcomes = ShiryaevRoberts(), [], runs(60_000)
    at = 0
    while (found := detector.update_blocks(outcomes[at:])) is not None:
        at += found + 1
        alarms.append(at)
    assert detector.dispersion > 10
    # Without the dispersion there are hundreds.
    assert len([alarm for alarm in alarms if alarm > 5_000]) <= 6


def test_independent_errors_are_not_called_dependent():
    detector = ShiryaevRoberts()
    detector.update_blocks(errors(8, (0.2, 20_000)))
    assert detector.dispersion < 1.1


def losses(seed, *pieces):
    chance = np.random.default_rng(seed)
    return np.concatenate([chance.exponential(level, count) for level, count in pieces])


def test_a_rise_of_losses_is_found_at_any_scale():
    for scale in (1e-6, 1.0, 1e6):
        for seed in range(5):
            detector = ShiryaevRoberts(kind="losses")
            at = detector.update_blocks(scale * losses(seed, (1.0, 3000), (2.0, 1000)))
            assert at is not None
            assert 3000 <= at < 3150
            assert abs(detector.change_point - 3000) < 60


def test_one_huge_loss_is_no_drift():
    values = losses(1, (1.0, 6000))
    values[3000] = 1e9
    assert ShiryaevRoberts(kind="losses").update_blocks(values) is None


def test_constant_losses_are_quiet_and_a_rise_from_zero_is_found():
    for level in (0.0, 0.3, 1e9):
        assert ShiryaevRoberts(kind="losses").update_blocks(np.full(3000, level)) is None
    detector = ShiryaevRoberts(kind="losses")
    assert detector.update_blocks(np.r_[np.full(500, 0.3), np.full(200, 3.0)]) is not None


def test_losses_in_blocks_are_found_too():
    values = losses(2, (1.0, 3200), (2.0, 960)).reshape(-1, 32).sum(axis=1)
    detector = ShiryaevRoberts(kind="losses")
    at = detector.update_blocks(values, np.full(len(values), 32))
    assert at is not None
    assert 100 <= at < 108


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "error"},
        {"rows_per_alarm": 3},
        {"rows_per_alarm": float("nan")},
        {"baseline": (1.2, 10)},
        {"baseline": (0.2, 0)},
        {"baseline": (float("nan"), 5)},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(DeclarationError):
        ShiryaevRoberts(**settings)


@pytest.mark.parametrize("bad", [(2, 1), (-1, 1), (float("nan"), 1), (0, 0), (1, float("inf"))])
def test_an_impossible_block_is_refused_before_it_is_counted(bad):
    detector = ShiryaevRoberts()
    with pytest.raises(ValueError, match="must be 0 or 1; got the sum"):
        detector.update_block(*bad)
    with pytest.raises(ValueError, match="must be 0 or 1; got the sum"):
        detector.update_blocks([0, bad[0]], [1, bad[1]])
    assert detector.rows == 0


def test_a_huge_block_neither_overflows_nor_is_overlooked():
    detector = ShiryaevRoberts()
    detector.update_block(200_000, 1_000_000)
    detector.update_block(900_000, 1_000_000)
    assert detector.drift_detected
    assert detector.change_point == 1_000_000
    assert np.isfinite(detector.statistic)
    assert len(detector._registers) == kernel.REGISTERS
