"""The job that is measured: ten fields, checks, a lookup, keyed state, logistic regression."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import polars as pl
import tidemill as tm

HOME = Path(os.environ.get("TIDEMILL_HOME", ".tidemill")).absolute() / "bench"
STORES = 200
KEYS = int(os.environ.get("TIDEMILL_BENCH_KEYS", "10000"))
PARTITIONS = int(os.environ.get("TIDEMILL_BENCH_PARTITIONS", "4"))

SCHEMA = {
    "type": "record",
    "name": "Payment",
    "namespace": "bench",
    "fields": [
        {"name": "payment_id", "type": "string"},
        {"name": "card", "type": "string"},
        {"name": "paid_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "store", "type": "int"},
        {"name": "amount", "type": "double", "constraints": {"minimum": 0, "maximum": 100000}},
        {"name": "items", "type": "int", "constraints": {"minimum": 1}},
        {"name": "discount", "type": ["null", "double"], "default": None},
        {"name": "channel", "type": "string", "constraints": {"enum": ["web", "app", "till"]}},
        {"name": "first_time", "type": "boolean"},
        {"name": "points", "type": "long"},
    ],
}
LABEL = {
    "type": "record",
    "name": "Chargeback",
    "namespace": "bench",
    "fields": [{"name": "payment_id", "type": "string"}, {"name": "charged_back", "type": "boolean"}],
}
FEATURES = ["amount", "items", "points", "mean_basket", "risk", "earlier", "spent", "usual_amount", "per_item"]


def payments(count: int, seed: int = 0) -> pa.Table:
    """Payments in order of time, at 50 a second."""
    rng = np.random.default_rng(seed)
    start = np.datetime64("2026-01-01", "us").astype(np.int64)
    return pa.table(
        {
            "payment_id": pa.array([f"p{i:012d}" for i in range(count)]),
            "card": pa.array([f"c{i:08d}" for i in rng.zipf(1.3, count) % KEYS]),
            "paid_at": pa.array(start + np.arange(count) * 20_000, pa.timestamp("us", "UTC")),
            "store": pa.array(rng.integers(0, STORES, count), pa.int32()),
            "amount": rng.gamma(2.0, 30.0, count),
            "items": pa.array(rng.integers(1, 20, count), pa.int32()),
            "discount": pa.array(rng.random(count), mask=rng.random(count) < 0.7),
            "channel": pa.array(np.array(["web", "app", "till"])[rng.integers(0, 3, count)]),
            "first_time": pa.array(rng.random(count) < 0.1),
            "points": pa.array(rng.integers(0, 10_000, count)),
        }
    )


def write_stores(folder: Path) -> None:
    """The table that payments are looked up in."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    stores = {
        "store": pa.array(range(STORES), pa.int32()),
        "mean_basket": rng.gamma(2, 30, STORES),
        "risk": rng.random(STORES),
    }
    pq.write_table(pa.table(stores), folder / "stores.parquet")


if not (HOME / "stores.parquet").exists():
    write_stores(HOME)

pipeline = tm.Pipeline(
    os.environ.get("TIDEMILL_BENCH_NAME", "bench"),
    tm.Events(SCHEMA, key="card", time="paid_at", id="payment_id"),
    checks=[tm.present("card"), tm.check("points_are_earned", pl.col("points") >= 0)],
    tables=[tm.file_table("stores", HOME / "stores.parquet", key=["store"])],
    features=[
        tm.fields("amount", "items", "points"),
        tm.lookup("stores", on=["store"], columns=["mean_basket", "risk"]),
        tm.expression(per_item=pl.col("amount") / pl.col("items")),
        tm.window("card", over="1h", earlier=tm.count(), spent=tm.sum("amount"), usual=tm.mean("amount")),
        tm.expression(usual_amount=pl.col("usual").fill_null(0.0)),
    ],
    labels=tm.Labels(LABEL, id="payment_id", label=pl.col("charged_back")),
    model=tm.Model(make_pipeline(StandardScaler(), LogisticRegression()), FEATURES, prior=0.01),
    partitions=PARTITIONS,
)


def fitted() -> object:
    """A model of the declared kind: what it has learnt does not matter to its speed."""
    rng = np.random.default_rng(2)
    import pandas as pd

    frame = pd.DataFrame(rng.random((2_000, len(FEATURES))), columns=FEATURES)
    model = pipeline.model
    assert model is not None
    return model.estimator.fit(frame, frame["risk"] + frame["amount"] > 1)
