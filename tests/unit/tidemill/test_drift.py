"""Drift in a pipeline with a trained model, as a user tests it: from events and labels to alerts."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tidemill as tm
from tidemill.streams.memory import MemoryReader, MemoryStream
from tidemill.streams.models import announcements
from tidemill.streams.references import References

START = datetime(2024, 1, 1, tzinfo=UTC)
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def record(name, **fields):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}


VISIT = record("Visit", id="string", shop="string", at=MICROS, pages=["null", "double"])
SALE = record("Sale", id="string", bought="boolean", at=MICROS)
A_DAY = 400


def declare(**more):
    more.setdefault("profiles", tm.Profiles(slices=["shop"]))
    return tm.Pipeline(
        "visits",
        tm.Events(VISIT, key="shop", time="at", id="id"),
        checks=[tm.check("possible", pl.col("pages").fill_null(0) > -50)],
        features=[tm.fields("shop", "pages")],
        labels=tm.Labels(SALE, id="id", label=pl.col("bought"), time="at", within="2d"),
        model=tm.Model(make_pipeline(SimpleImputer(), LogisticRegression()), ["pages"], prior=0.5),
        partitions=2,
        **more,
    )


class Shops:
    """Visits and sales, day by day, as they become known; what is drawn depends on the seed alone."""

    def __init__(self, pipeline, seed=1):
        self.driver = tm.testing.Driver(pipeline, now=START + timedelta(days=400))
        self.chance, self.day = np.random.default_rng(seed), 0

    def days(self, count, *, pages=0.0, effect=2.0, missing=0.0, broken=0.0):
        for _ in range(count):
            seconds = np.sort(self.chance.uniform(0, 86_000, A_DAY))
            seen = self.chance.normal(pages, 1, A_DAY)
            bought = self.chance.random(A_DAY) < 1 / (1 + np.exp(-effect * seen))
            gone, bad = self.chance.random(A_DAY) < missing, self.chance.random(A_DAY) < broken
            visits, sales = [], []
            for n in range(A_DAY):
                at = START + timedelta(days=self.day, seconds=seconds[n])
                name = f"{self.day}.{n}"
                value = -99.0 if bad[n] else None if gone[n] else float(seen[n])
                visits.append({"id": name, "shop": f"s{n % 5}", "at": at, "pages": value})
                sales.append({"id": name, "bought": bool(bought[n]), "at": at + timedelta(hours=2)})
            self.driver.send(visits)
            self.driver.send_labels(sales)
            self.driver.run()
            self.day += 1
        return self

    def train(self):
        self.driver.train()
        return self

    def opened(self):
        """What opened, by the day of the window's end."""
        return {
            (alert.kind, alert.subject, alert.slice): (alert.opened_at - START).days
            for alert in self.driver.alerts()
            if alert.state == "opened"
        }


@pytest.fixture(scope="module")
def quiet():
    return Shops(declare(), seed=4).days(6).train().days(20)


def test_a_trained_model_has_a_reference_for_each_slice(quiet):
    driver = quiet.driver
    models = MemoryStream(driver.log, "visits.models")
    (announced,) = announcements(MemoryStream(driver.log, "visits.models"), wait=True)
    reference = References(driver.plan, models, MemoryReader(driver.log))(announced["model_version"])
    for kind in ("features", "predictions", "outcomes"):
        assert {slice_ for of, slice_ in reference if of == kind} == {"", *(f"shop=s{n}" for n in range(5))}


def test_a_stream_without_drift_is_quiet(quiet):
    assert quiet.opened() == {}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"effect": -1.0}, ("concept_drift", "errors", "")),
        ({"pages": 1.5}, ("data_drift", "pages", "")),
        ({"pages": 1.5}, ("prediction_drift", "probability_true", "")),
        ({"missing": 0.5}, ("missing_rate", "pages", "")),
        ({"broken": 0.3}, ("rejection_rate", "rejected", "")),
    ],
)
def test_a_drift_is_found_within_days(changed, expected):
    shops = Shops(declare(), seed=5).days(4).train().days(4).days(4, **changed)
    opened = shops.opened()
    assert expected in opened, opened
    assert 8 <= opened[expected] <= 10
