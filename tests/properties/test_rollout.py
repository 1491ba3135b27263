"""Roles folded from any records, evidence from any cut of the topics, and how often chance alone decides."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors.online_inference.target import Target
from tidemill.processors.rollout.comparison import Comparison, losses, widest
from tidemill.processors.rollout.declaration import Rollout as Policy
from tidemill.processors.rollout.ledger import Ledger
from tidemill.processors.rollout.matchup import Matchup, matchups
from tidemill.processors.rollout.moments import Moments, interval, more_often
from tidemill.processors.rollout.policy import Action, Evidence, Stage, decide
from tidemill.processors.rollout.state import Rollout

START = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = Target(("no", "yes"))
STATUSES = ["shadow", "canary", "champion", "retired", "refused", "rolled_back"]

records = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(STATUSES), st.sampled_from([0.0, 0.1, 0.5])), max_size=30
)


def said(moves):
    return [
        {"model_version": version, "status": status, "share": share, "announced_at": START + timedelta(hours=place)}
        for place, (version, status, share) in enumerate(moves)
    ]


def oracle(moves):
    """The same rules, said another way: what each version is, and who was champion."""
    stands, champions = {}, []
    for version, status, share in moves:
        now = stands.get(version, "new")
        may = {
            "champion": now != "refused",
            "shadow": now not in ("shadow", "champion"),
            "canary": now in ("new", "shadow", "canary", "retired")
            and share > 0
            and not any(s == "canary" for v, s in stands.items() if v != version),
            "retired": now in ("shadow", "canary"),
            "rolled_back": now in ("canary", "retired"),
            "refused": now in ("new", "shadow", "refused"),
        }[status]
        if not may:
            continue
        if status == "champion":
            stands |= {v: "retired" for v, s in stands.items() if s == "champion"}
            champions = [v for v in champions if v != version] + [version]
        stands[version] = status
    return stands, champions


@given(records)
def test_roles_are_those_of_the_oracle_and_the_rules_hold(moves):
    rollout = Rollout.of(said(moves))
    stands, champions = oracle(moves)
    assert {version: s.status for version, s in rollout.versions.items()} == stands
    assert list(rollout.champions) == champions
    assert sum(status == "champion" for status in stands.values()) == bool(champions)
    assert sum(status == "canary" for status in stands.values()) <= 1
    champion = rollout.champion
    assert (champion and champion.version) == (champions[-1] if champions else None)
    for matchup in matchups(rollout, "prior"):
        assert matchup.candidate != matchup.reference
        assert matchup.stages == tuple(sorted(matchup.stages))


@given(records, st.integers(-1, 31))
def test_at_a_time_the_roles_are_those_of_the_records_so_far(moves, hours):
    whole = Rollout.of(said(moves))
    then = whole.at(START + timedelta(hours=hours, minutes=30))
    assert then == Rollout.of(said(moves[: max(hours + 1, 0)]))


# Evidence


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),  # the stage
        st.sampled_from(["shadow", "served by candidate", "served by reference"]),
        st.sampled_from([0.1, 0.3, 0.8]),  # what one of them thinks of "yes"
        st.sampled_from([0.2, 0.5, 0.9]),
        st.sampled_from(["no", "yes", None]),  # the label
        st.sampled_from([None, None, None, "candidate", "reference", "both"]),  # who fails
    ),
    max_size=40,
)
MATCHUP = Matchup(Stage.CANARY, "b", "a", (1, 2))


def tables(rows):
    """Rows of both topics for these events, by offset."""
    beside, outcomes = [], []
    for offset, (stage, kind, mine, theirs, label, fails) in enumerate(rows):
        served, other = ("b", "a") if kind == "served by candidate" else ("a", "b")
        chances = {"b": mine, "a": theirs}
        failing = {"candidate": ["b"], "reference": ["a"], "both": ["a", "b"], None: []}[fails]
        role = {"shadow": "shadow", "served by candidate": "champion", "served by reference": "canary"}[kind]
        told = [(other, role)]
        if served in failing:
            # As the stage does it: a canary that fails leaves the event to the champion, whose failure is told.
            served, told = ("a", [("b", "canary")]) if served == "b" else (None, [("b", role), ("a", "champion")])
        for version, as_role in told:
            fine = version not in failing
            beside.append(
                {
                    "source_partition": 0, "source_offset": offset, "model_version": version, "role": as_role,
                    "stage": stage, "value": "yes" if fine else None, "at": offset * 1_000_000,
                    "probability_no": 1 - chances[version] if fine else None,
                    "probability_yes": chances[version] if fine else None, "failure": None if fine else "x: failed",
                }
            )  # fmt: skip
        if label is not None and served is not None:
            outcomes.append(
                {
                    "source_partition": 0, "source_offset": offset, "model_version": served, "value": "yes",
                    "probability_no": 1 - chances[served], "probability_yes": chances[served], "label": label,
                }
            )  # fmt: skip
    return beside, outcomes


def as_table(rows, *, happened):
    own = (
        [("label", pa.string())]
        if happened
        else [("role", pa.string()), ("stage", pa.int64()), ("failure", pa.string())]
    )
    own += [] if happened else [("at", pa.int64())]
    fields = [("source_partition", pa.int32()), ("source_offset", pa.int64()), ("model_version", pa.string())]
    scores = [("value", pa.string()), ("probability_no", pa.float64()), ("probability_yes", pa.float64())]
    return pa.Table.from_pylist(rows, pa.schema([*fields, *scores, *own]))


def naive(beside, outcomes, stages):
    """Differences of losses of pairs with both answers, and the candidate's failures where the reference answers."""
    by_place = {row["source_offset"]: row for row in outcomes}
    differences, failures = [], 0
    failing = {}
    for row in beside:
        if row["failure"]:
            failing.setdefault(row["source_offset"], []).append(row["model_version"])
    for row in beside:
        if row["stage"] == stages[-1] and row["failure"] and row["model_version"] == "b":
            failures += failing[row["source_offset"]] == ["b"]
        served = by_place.get(row["source_offset"])
        if row["stage"] not in stages or row["failure"] or served is None:
            continue
        pair = {r["model_version"]: -np.log(r[f"probability_{served['label']}"]) for r in (row, served)}
        if set(pair) == {"a", "b"}:
            differences.append(pair["a"] - pair["b"])
    return differences, failures


@settings(max_examples=60)
@given(ROWS, st.lists(st.integers(1, 12), min_size=1, max_size=8), st.booleans())
def test_evidence_is_that_of_the_oracle_however_the_topics_are_cut(rows, cuts, repeated):
    beside, outcomes = tables(rows)
    ledger = Ledger(TARGET, "log_loss")
    ledger.follow([MATCHUP])
    done, told = 0, 0
    for size in [*cuts, len(rows) + 1]:
        until = done + size
        ledger.answers(as_table([r for r in beside if done <= r["source_offset"] < until], happened=False))
        # Outcomes come when they come, and those of one event again when its label is corrected.
        late = [r for r in outcomes if told <= r["source_offset"] < until]
        ledger.outcomes(as_table(late * (2 if repeated else 1), happened=True))
        ledger.outcomes(as_table(late if repeated else [], happened=True))
        done, told = until, until
    found = ledger.evidence(MATCHUP)
    differences, failures = naive(beside, outcomes, MATCHUP.stages)
    whole = found.here.merged(found.before)
    assert whole.count == len(differences)
    assert whole.better == pytest.approx(np.mean(differences) if differences else 0.0)
    assert found.failures == failures


losses_of_three = st.tuples(st.floats(0, 5), st.floats(0, 5), st.floats(0, 9))


@given(st.lists(losses_of_three, max_size=50), st.lists(st.integers(0, 50), max_size=4))
def test_a_comparison_is_the_same_however_it_is_put_together(rows, cuts):
    values = np.array(rows).reshape(-1, 3)
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    merged = Comparison()
    for start, stop in pairwise(bounds):
        merged = merged.merged(Comparison.of(*values[start:stop].T))
    whole = Comparison.of(*values.T)
    assert merged.count == whole.count == len(values)
    assert merged.better == pytest.approx(whole.better)
    assert merged.difference.squares == pytest.approx(whole.difference.squares, abs=1e-9)
    assert merged.turned().better == pytest.approx(-whole.better)
    assert (merged.candidate_loss, merged.reference_loss, merged.largest) == pytest.approx(
        (whole.candidate_loss, whole.reference_loss, whole.largest)
    )


@given(st.sampled_from(["log_loss", "accuracy"]), st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=1))
def test_losses_are_never_further_apart_than_is_reckoned_with(metric, shares):
    ours, theirs = (np.array([[1 - p, p] for p in side]) for side in zip(*shares, strict=True))
    values = [[TARGET.classes[place] for place in side.argmax(axis=1)] for side in (ours, theirs)]
    most = widest(metric, (values[0], values[1]), (ours, theirs))
    for label in TARGET.classes:
        labels = [label] * len(ours)
        one, other = (losses(metric, TARGET, v, s, labels) for v, s in zip(values, (ours, theirs), strict=True))
        assert (np.abs(one - other) <= most + 1e-12).all()


def test_a_class_that_is_not_declared_is_the_worst_answer():
    worst = losses("log_loss", TARGET, ["yes"], np.array([[0.2, 0.8]]), ["maybe"])
    assert worst == pytest.approx(-np.log(1e-4))


# Chance


def looks(chance, edge, count, every):
    """Evidence after each look at a stream of binary labels: two models that are off by as much, or by an edge."""
    truth = chance.uniform(0.1, 0.9, count)
    labels = (chance.random(count) < truth).astype(int)
    said = [np.clip(truth + chance.normal(0, 0.15, count) * (1 - e), 0.02, 0.98) for e in (edge, 0.0)]
    yield from seen([np.column_stack([1 - p, p]) for p in said], labels, every)


def seen(scores, labels, every):
    """Evidence after each look at the events so far."""
    names = [TARGET.classes[label] for label in labels]
    candidate, reference = (losses("log_loss", TARGET, names, side, names) for side in scores)
    apart = widest("log_loss", (names, names), tuple(scores))
    found = Comparison()
    for start in range(0, len(labels), every):
        part = slice(start, start + every)
        found = found.merged(Comparison.of(candidate[part], reference[part], apart[part]))
        yield found


def first_step(evidence):
    """What is done at the first look at which something is."""
    policy = Policy(canary_for=0, least_outcomes=200)
    for found in evidence:
        made = decide(policy, Evidence(Stage.CANARY, "b", "a", "log_loss", here=found))
        if made.action is not Action.HOLD:
            return made.action
    return Action.HOLD


def decided(edge, seed):
    return first_step(looks(np.random.default_rng(seed), edge, 4000, 50))


def test_of_equal_models_hardly_any_is_promoted_or_rolled_back_however_often_one_looks():
    found = [decided(0.0, seed) for seed in range(300)]
    # One error in twenty was allowed for promotions, and for rollbacks a third of that in each stage.
    assert found.count(Action.PROMOTE) <= 300 * 0.05
    assert found.count(Action.ROLL_BACK) <= 300 * 0.05


def test_a_better_model_is_promoted_and_a_worse_one_is_not():
    better = [decided(1.0, seed) for seed in range(60)]
    worse = [decided(-1.0, seed) for seed in range(60)]
    assert better.count(Action.PROMOTE) >= 57
    assert worse.count(Action.PROMOTE) == 0
    assert worse.count(Action.ROLL_BACK) >= 57


def test_a_disaster_that_has_not_shown_yet_is_reckoned_with():
    """Surer of almost every event, and wrong on 1 of 100: at first, many see only that it is better."""
    promoted = 0
    for seed in range(200):
        labels = (np.random.default_rng(seed).random(2000) > 0.01).astype(int)
        sure, careful = (np.tile([1 - p, p], (2000, 1)) for p in (0.9999, 0.985))
        promoted += first_step(seen([sure, careful], labels, 50)) is Action.PROMOTE
    assert promoted <= 200 * 0.05


def test_failures_as_rare_as_allowed_are_hardly_ever_too_many():
    chance = np.random.default_rng(7)
    out = 0
    for _ in range(400):
        failed = (chance.random(5000) < 0.01).cumsum()
        out += any(more_often(int(failed[n]), n + 1, 0.01, 0.05) for n in range(99, 5000, 100))
    assert out <= 400 * 0.05
    assert more_often(20, 400, 0.01, 0.05)


def test_the_interval_holds_the_mean_at_every_look():
    chance = np.random.default_rng(3)
    missed = 0
    for _ in range(300):
        values = chance.exponential(1.0, 3000)
        found, out = Moments(), False
        for start in range(0, 3000, 100):
            found = found.merged(Moments.of(values[start : start + 100]))
            low, high = interval(found, 0.05, 200)
            out = out or not low <= 1.0 <= high
        missed += out
    assert missed <= 300 * 0.05
