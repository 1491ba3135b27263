import builtins
import pickle
import sys

import numpy as np
import pytest

from tidemill.processors.drift.detectors import NAMES, RIVER, Detector, sequential
from tidemill.processors.drift.shiryaev_roberts import ShiryaevRoberts
from tidemill.schemas.errors import DeclarationError


class Above:
    """A user's own: an alarm whenever the mean of the last 20 outcomes is above a half."""

    def __init__(self):
        self.last = []
        self.drift_detected = False

    def update(self, value):
        self.last = [*self.last[-19:], value]
        self.drift_detected = sum(self.last) > 10


ALL = [*NAMES, Above]
every = pytest.mark.parametrize("which", ALL, ids=lambda which: getattr(which, "__name__", which))


def step(seed=1, before=700, after=300, low=0.05, high=0.95):
    chance = np.random.default_rng(seed)
    return [int(x) for x in np.r_[chance.random(before) < low, chance.random(after) < high]]


def alarms(detector, outcomes):
    found = []
    for i, outcome in enumerate(outcomes):
        detector.update(outcome)
        if detector.drift_detected:
            found.append(i)
    return found


@every
def test_it_is_a_detector_and_finds_a_huge_step(which):
    detector = sequential(which)
    assert isinstance(detector, Detector)
    assert any(700 <= at < 900 for at in alarms(detector, step()))


@every
def test_it_is_deterministic(which):
    assert alarms(sequential(which), step()) == alarms(sequential(which), step())


@every
@pytest.mark.parametrize("constant", [0, 1])
def test_it_is_quiet_on_a_constant(which, constant):
    if which is Above and constant:
        pytest.skip("this one knows no baseline")
    assert alarms(sequential(which), [constant] * 1000) == []


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_none_is_an_error_and_changes_nothing(which, bad):
    outcomes = step()
    detector = sequential(which)
    found = alarms(detector, outcomes[:500])
    with pytest.raises(ValueError, match=r"finite number|0 or 1"):
        detector.update(bad)
    found += [500 + at for at in alarms(detector, outcomes[500:])]
    assert found == alarms(sequential(which), outcomes)


@every
def test_its_state_can_be_kept(which):
    outcomes = step()
    detector = sequential(which)
    alarms(detector, outcomes[:650])
    again = pickle.loads(pickle.dumps(detector))
    assert alarms(again, outcomes[650:]) == alarms(detector, outcomes[650:])


@every
def test_blocks_of_one_are_single_outcomes(which):
    outcomes, one, blocks = step(), sequential(which), sequential(which)
    found = []
    for i, outcome in enumerate(outcomes):
        blocks.update_block(outcome, 1)
        if blocks.drift_detected:
            found.append(i)
    assert found == alarms(one, outcomes)


# KSWIN and PageHinkley count blocks as they count rows, and here are fewer than they need.
@pytest.mark.parametrize("which", [name for name in NAMES if name not in ("kswin", "page_hinkley")])
def test_a_huge_step_is_found_in_blocks(which):
    outcomes = np.array(step(before=4000, after=4000)).reshape(-1, 50).sum(axis=1)
    detector = sequential(which)
    found = []
    for i, errors in enumerate(outcomes):
        detector.update_block(int(errors), 50)
        if detector.drift_detected:
            found.append(i)
    assert any(80 <= at < 140 for at in found), found
    assert detector.rows == 8000


@pytest.mark.parametrize("which", [name for name, made in RIVER.items() if made.binary] + ["shiryaev_roberts"])
def test_a_binary_detector_refuses_losses(which):
    with pytest.raises(ValueError, match="0 or 1"):
        sequential(which).update(0.5 if which != "shiryaev_roberts" else 1.5)
    if which != "shiryaev_roberts":
        with pytest.raises(DeclarationError, match="takes errors"):
            sequential(which, kind="losses")


def test_an_unknown_name_is_answered_by_the_nearest():
    with pytest.raises(DeclarationError, match="did you mean 'page_hinkley'"):
        sequential("pagehinkley")


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(DeclarationError, match=r"adwin cannot be made so.*deltta"):
        sequential("adwin", deltta=0.1)
    with pytest.raises(DeclarationError, match="shiryaev_roberts cannot be made so"):
        sequential("shiryaev_roberts", delta=0.1)


def test_settings_reach_the_detector():
    assert sequential("adwin", delta=0.1).detector.delta == 0.1
    assert sequential(rows_per_alarm=500).detector.threshold == 500


def test_a_missing_library_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "river"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__
    monkeypatch.setitem(sys.modules, "river", None)
    monkeypatch.setattr(builtins, "__import__", real)
    with pytest.raises(DeclarationError, match=r"tidemill\[control\]"):
        sequential("adwin")
    assert isinstance(sequential().detector, ShiryaevRoberts)


ONE = Above()


@pytest.mark.parametrize("factory", [lambda: 3, lambda: Above, lambda: ONE, 7])
def test_what_makes_no_detector_is_refused(factory):
    with pytest.raises(DeclarationError, match="detector"):
        sequential(factory)
