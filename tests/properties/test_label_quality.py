"""Consensus, agreement and samples against what one would write without columns; Dawid-Skene against naive EM."""

import math
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import permutations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.processors.label_quality import (
    DisputeRule,
    consensus,
    dawid_skene,
    in_sample,
    krippendorff_alpha,
    last_answers,
)

KINDS = {
    "event_id": pl.String,
    "annotator": pl.String,
    "label": pl.Int64,
    "confidence": pl.Float64,
    "time": pl.Int64,
    "revision": pl.Int64,
    "guidelines_version": pl.String,
}
LABEL = st.tuples(
    st.sampled_from("abcd"),
    st.sampled_from(["ada", "bo", "cy", "di"]),
    st.integers(0, 2),
    st.sampled_from([None, 0.0, 0.1, 0.2, 0.3, 0.5, 1.0]),
    st.sampled_from([None, 0, 1, 2]),
)
LABELS = st.lists(LABEL, max_size=30)


def frame(rows):
    made = [(event, who, label, sure, 0, revision, None) for event, who, label, sure, revision in rows]
    return pl.DataFrame(made, schema=KINDS, orient="row")


def last(rows):
    """What counts, by event and annotator: label and confidence."""
    found = {}
    for event, who, label, sure, revision in rows:
        held = found.get((event, who))
        if held is None or (revision or 0) >= held[2]:
            found[event, who] = (label, Fraction(1 if sure is None else str(sure)), revision or 0)
    return {key: value[:2] for key, value in found.items()}


@given(LABELS)
def test_the_last_answers(rows):
    found = {(r["event_id"], r["annotator"]): r for r in last_answers(frame(rows)).to_dicts()}
    assert {key: (r["label"], r["confidence"]) for key, r in found.items()} == {
        key: (label, float(sure)) for key, (label, sure) in last(rows).items()
    }


@settings(max_examples=50)
@given(LABELS, st.integers(1, 4), st.sampled_from([0.1, 0.5, 0.6, 0.7, 1.0]), st.randoms())
def test_the_consensus(rows, least, agree, random):
    weights = {"ada": 0.5, "bo": 0.0, "cy": 0.1}
    exact = {name: Fraction(str(weight)) for name, weight in weights.items()}
    votes, people = defaultdict(lambda: defaultdict(Fraction)), Counter()
    for (event, who), (label, sure) in last(rows).items():
        votes[event][label] += sure * exact.get(who, 1)
        people[event] += 1
    expected = {}
    for event, by_label in votes.items():
        top, total = max(by_label.values()), sum(by_label.values())
        winners = [label for label, vote in by_label.items() if vote == top]
        tied = len(winners) > 1 or not total
        share = float(top / total) if total else 0.0
        dispute = "few" if people[event] < least else "tie" if tied else "split" if share < agree else None
        expected[event] = (None if tied else winners[0], share, people[event], dispute)
    shuffled = last_answers(frame(rows)).to_dicts()
    random.shuffle(shuffled)
    found = consensus(pl.DataFrame(shuffled, schema=KINDS), DisputeRule(least, agree), weights)
    assert {
        r["event_id"]: (r["label"], r["share"], r["annotators"], r["dispute"]) for r in found.to_dicts()
    } == expected


def naive_alpha(answers):
    """Over ordered pairs: within events, each counting 1 / (m - 1), and of all values that can be paired."""
    by_event = defaultdict(list)
    for (event, _), (label, _) in answers.items():
        by_event[event].append(label)
    units = [values for values in by_event.values() if len(values) > 1]
    everything = [value for values in units for value in values]
    apart = sum(a != b for a, b in permutations(everything, 2))
    if not apart:
        return None
    within = sum(Fraction(sum(a != b for a, b in permutations(u, 2)), len(u) - 1) for u in units)
    count = len(everything)
    return float(1 - (within / count) / Fraction(apart, count * (count - 1)))


@settings(max_examples=50)
@given(LABELS)
def test_alpha(rows):
    found, expected = krippendorff_alpha(last_answers(frame(rows))), naive_alpha(last(rows))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


@pytest.fixture(scope="module")
def crowd_kits_alpha():
    from crowdkit.metrics.data import alpha_krippendorff

    return alpha_krippendorff


@settings(max_examples=15)
@given(st.lists(LABEL, min_size=4, max_size=30))
def test_alpha_is_crowd_kits_where_that_has_one(crowd_kits_alpha, rows):
    answers = last_answers(frame(rows))
    found = krippendorff_alpha(answers)
    if found is not None:
        names = {"event_id": "task", "annotator": "worker"}
        given_ = answers.select("event_id", "annotator", "label").rename(names).to_pandas()
        assert found == pytest.approx(crowd_kits_alpha(given_), abs=1e-12)


def naive_em(answers, iterations):
    """Dawid and Skene (1979), equations 2.3 to 2.5, from the shares of the answers."""
    events = sorted({event for event, _ in answers})
    classes = sorted({label for label, _ in answers.values()})
    belief = {}
    for event in events:
        said = [label for (e, _), (label, _) in answers.items() if e == event]
        belief[event] = {k: said.count(k) / len(said) for k in classes}

    def maximised():
        prior = {k: sum(belief[e][k] for e in events) / len(events) for k in classes}
        counts = defaultdict(float)
        for (event, who), (label, _) in answers.items():
            for k in classes:
                counts[who, k, label] += belief[event][k]
        seen = defaultdict(set)
        for (_, who), (label, _) in answers.items():
            seen[who].add(label)
        errors = {}
        for who, labels in seen.items():
            for k in classes:
                floored = {label: max(counts[who, k, label], 1e-10) for label in labels}
                for label in labels:
                    errors[who, k, label] = floored[label] / sum(floored.values())
        return prior, errors

    prior, errors = maximised()
    for _ in range(iterations):
        for event in events:
            logs = {k: math.log(max(prior[k], 1e-10)) for k in classes}
            for (e, who), (label, _) in answers.items():
                if e == event:
                    for k in classes:
                        logs[k] += math.log(errors[who, k, label])
            top = max(logs.values())
            scaled = {k: math.exp(value - top) for k, value in logs.items()}
            belief[event] = {k: value / sum(scaled.values()) for k, value in scaled.items()}
        prior, errors = maximised()
    accuracy = defaultdict(float)
    for (who, k, label), share in errors.items():
        accuracy[who] += prior[k] * share if k == label else 0.0
    return {event: max(belief[event].values()) for event in events}, accuracy


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LABEL, min_size=6, max_size=30))
def test_dawid_and_skenes_model(rows):
    answers = last_answers(frame(rows))
    found = dawid_skene(answers, iterations=10)
    belief, accuracy = naive_em(last(rows), found.iterations)
    probability = dict(found.labels.select("event_id", "probability").iter_rows())
    assert probability == pytest.approx(belief, abs=1e-6)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)


@settings(max_examples=30)
@given(st.text(max_size=5), st.floats(0, 1), st.floats(0, 1), st.text(max_size=3))
def test_a_larger_sample_holds_the_smaller_one(event, one, other, seed):
    low, high = sorted((one, other))
    assert in_sample(event, low, seed) <= in_sample(event, high, seed)
