"""Slices and groups of a candidate: what is shown, what is doubted, and how often chance alone decides."""

import numpy as np
import pytest

from tidemill.processors.rollout.comparison import Comparison
from tidemill.processors.rollout.declaration import Rollout
from tidemill.processors.rollout.policy import Action, Evidence, Stage, decide
from tidemill.processors.rollout.slices import Group, Slice, look_at_groups, look_at_slices
from tidemill.processors.training.gates.declaration import Fairness, Gates

POLICY = Rollout(shadow=200, canary=0, least_outcomes=200)
GATES = Gates(slices={"shop": 0.02})


def compared(mine, theirs, rows, seed=0):
    """Losses around these means, of the same events."""
    chance = np.random.default_rng(seed)
    noise = chance.exponential(0.2, rows)
    ours, others = mine + noise + chance.normal(0, 0.05, rows), theirs + noise
    return Comparison.of(ours, others, np.full(rows, 0.5))


def decided(slices, gates=GATES, **changed):
    whole = Comparison()
    for found in slices.values():
        whole = whole.merged(found.compared)
    evidence = {"stage": Stage.SHADOW, "here": whole, "span": 10**9, "scored": whole.count} | changed
    return decide(
        POLICY,
        Evidence(candidate="b", reference="a", metric="log_loss", slices=slices if gates.slices else {}, **evidence),
        gates,
    )


def test_a_candidate_that_is_better_on_the_whole_goes_for_a_slice_in_which_it_is_worse():
    slices = {"shop=A": Slice("shop", compared(0.1, 0.6, 400)), "shop=B": Slice("shop", compared(0.9, 0.3, 60))}
    made = decided(slices)
    assert made.action is Action.REFUSE
    assert made.reason.startswith("model b is worse than model a in shop=B: log loss 1.")
    assert "(0.02 worse is tolerated)" in made.reason
    assert made.figures["shop=B.better_at_most"] < -0.02
    assert decided(slices, gates=Gates()).action is Action.PROMOTE
    assert decided(slices, gates=Gates(slices={"shop": 2.0})).action is Action.PROMOTE
    assert decided(slices, stage=Stage.PROBATION).action is Action.ROLL_BACK


def test_it_does_not_go_on_while_a_slice_looks_worse_or_is_hardly_known():
    fine = Slice("shop", compared(0.1, 0.6, 400))
    doubted = decided({"shop=A": fine, "shop=B": Slice("shop", compared(0.45, 0.4, 60))})
    assert doubted.action is Action.HOLD
    assert "so far, which may be chance, in shop=B" in doubted.reason
    few = {"shop=A": fine, "shop=B": Slice("shop", compared(0.9, 0.3, 12))}
    held = decided(few)
    assert (held.action, held.reason) == (Action.HOLD, "model b is compared with model a: shop=B has 12 of 30 outcomes")
    # What is too rare is not waited for for ever.
    assert decided(few | {"shop=A": Slice("shop", compared(0.1, 0.6, 2_000))}).action is Action.PROMOTE
    late = decided({"shop=A": fine, "shop=B": Slice("shop", compared(0.45, 0.4, 60))}, span=10**16)
    assert late.action is Action.REFUSE


def test_a_candidate_that_fails_in_one_slice_only_goes():
    slices = {"shop=A": Slice("shop", compared(0.1, 0.6, 4_000)), "shop=B": Slice("shop", Comparison(), 6)}
    made = decided(slices, scored=4_006, failures=6)
    assert made.action is Action.REFUSE
    assert "in shop=B: it fails on 6 of 6 events that the other answers" in made.reason


def test_equal_models_hardly_ever_go_for_a_slice_however_many_there_are_and_however_often_one_looks():
    chance, gone = np.random.default_rng(5), 0
    for _ in range(30):
        slices = {f"shop={n}": Slice("shop", Comparison()) for n in range(8)}
        out = False
        for _ in range(20):
            for name, found in slices.items():
                one, other = chance.exponential(0.4, (2, 24))
                slices[name] = found.merged(Slice("shop", Comparison.of(one, other, np.abs(one - other) + 0.5)))
            out = out or bool(look_at_slices(Gates(slices={"shop": 0.0}), "log_loss", slices, 0.05, 0.01).shown)
        gone += out
    assert gone <= 2


def group(positives, rows=200):
    """Half of the rows are true; so many of each half are said to be."""
    half = rows // 2
    return np.array([[half - positives, positives], [half - positives, positives]])


@pytest.mark.parametrize("limits", [Fairness(demographic_parity=0.1), Fairness(equalised_odds=0.1)])
def test_a_candidate_that_treats_groups_differently_goes_unless_the_other_does_as_well(limits):
    gates = Gates(sensitive={"sex": limits})
    biased = {"sex=f": Group(group(10), group(50)), "sex=m": Group(group(80), group(52))}
    assert "by sex" in look_at_groups(gates, {"sex": biased}, 0.02).shown
    made = decided({}, gates=gates, groups={"sex": biased})
    assert made.action is Action.REFUSE
    assert "limit 0.1" in made.reason
    fair = {"sex=f": Group(group(48), group(10)), "sex=m": Group(group(52), group(80))}
    same = {"sex=f": Group(group(10), group(5)), "sex=m": Group(group(80), group(90))}
    assert all(look_at_groups(gates, {"sex": each}, 0.02).shown == "" for each in (fair, same))
    few = {"sex=f": Group(group(2, 12), group(3, 12)), "sex=m": Group(group(5, 12), group(3, 12))}
    assert look_at_groups(gates, {"sex": few}, 0.02).shown == ""
