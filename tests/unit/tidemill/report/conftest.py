"""A year in small: profiles of made-up days whose drift is known."""

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.drift import Scope, profile_of, profile_of_outcomes, profile_of_predictions
from tidemill.processors.online_inference import Target
from tidemill.report import Material, RejectionCounts
from tidemill.report.material import Windows

DAY = 86_400_000
START = 15_706 * DAY
"""2013-01-01."""
TARGET = Target((False, True), prior=0.2)


def rows(n, seed, *, shift=0.0, carriers=("AA", "UA"), labelled=1.0, extra=0):
    rng = np.random.default_rng(1_000 + seed)
    score = rng.beta(2, 5, n)
    return pa.table(
        {
            "delay": rng.normal(10 + shift, 3, n),
            "steady": rng.exponential(2, n),
            "hour": rng.integers(5, 23, n),
            "carrier": [carriers[place] for place in rng.integers(0, len(carriers), n)],
            **{f"f{i:04}": rng.random(n) for i in range(extra)},
            "value": pa.array(score > 0.5),
            "probability_false": 1 - score,
            "probability_true": score,
            "label": pa.array(rng.random(n) < score, mask=rng.random(n) >= labelled),
        }
    )


def day(number, n=2_000, version="v1", slice_="", **how):
    """The profiles of one day, as the stages write them."""
    table = rows(n, number, **how)
    scope = Scope("mill", START + number * DAY, START + (number + 1) * DAY, slice_, version)
    answers = {"value", "probability_false", "probability_true", "label"}
    known = table.filter(table["label"].is_valid())
    return [
        profile_of(table, "features", [name for name in table.column_names if name not in answers], scope),
        profile_of_predictions(table, TARGET, scope),
        *([profile_of_outcomes(known, TARGET, scope)] if known.num_rows else []),
    ]


def reference(**how):
    """What the model brings along, by kind and slice."""
    return {(profile.kind, ""): profile for profile in day(-30, 20_000, "", **how)}


def alert(identity, state="opened", revision=0, opened=5, updated=5, **fields):
    return {
        "id": identity,
        "revision": revision,
        "state": state,
        "kind": "data_drift",
        "subject": "delay",
        "slice": "",
        "detector": "psi",
        "severity": "critical",
        "effect": 1.5,
        "threshold": 0.2,
        "estimated": False,
        "message": "delay has moved from 10 to 22.",
        "opened_at": START + opened * DAY,
        "updated_at": START + updated * DAY,
        "muted": False,
        "acknowledged_by": None,
        **fields,
    }


def announced(version):
    return {
        "model_version": version,
        "trained_from": START - 30 * DAY,
        "trained_until": START - DAY,
        "classes": ["False", "True"],
    }


@pytest.fixture
def make_day():
    return day


@pytest.fixture
def make_reference():
    return reference


@pytest.fixture
def make_alert():
    return alert


@pytest.fixture(scope="session")
def windows():
    """Ten days: as in the reference until `delay` moves on the seventh; the last two still wait for labels."""
    made = Windows()
    for number in range(10):
        late = {8: 0.5, 9: 0.1}.get(number, 0.98)
        made.add(day(number, shift=12.0 if number >= 6 else 0.0, labelled=late, version="v1" if number < 4 else "v2"))
    return made


@pytest.fixture(scope="session")
def references():
    return {"v1": reference(), "v2": reference()}


@pytest.fixture
def material(windows, references):
    """All that a report is made of."""
    counts = RejectionCounts()
    for number in range(500):
        counts.add("sanity_check", "out_of_range" if number % 5 else "duplicate_id", START + number * 3_600_000)
    return Material(
        "mill",
        windows,
        references,
        [announced("v1"), announced("v2")],
        [
            alert("a" * 16, opened=7, updated=7),
            alert("b" * 16, opened=2, updated=2, severity="warning", subject="hour"),
            alert("b" * 16, "resolved", 1, opened=2, updated=4, severity="warning", subject="hour"),
        ],
        counts,
    )


@pytest.fixture
def moment():
    """The start of a day by its number."""
    return lambda number: START + number * DAY
