"""The job that is measured: ten fields, checks, a lookup, keyed state, logistic regression.

It is a pipeline file like any other: `tidemill run benchmarks/job.py` runs it. TIDEMILL_BENCH may hold arguments of
`declare` as JSON, by which the benchmarks make its variants.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tidemill as tm

HOME = Path(os.environ.get("TIDEMILL_HOME", ".tidemill")).absolute() / "bench"
STORES = 200
CARDS = 10_000
CHUNK = 50_000

PAYMENT = {
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
CHARGEBACK = {
    "type": "record",
    "name": "Chargeback",
    "namespace": "bench",
    "fields": [{"name": "payment_id", "type": "string"}, {"name": "charged_back", "type": "boolean"}],
}


def payments(first: int, count: int, cards: int = CARDS, *, even: bool = False) -> pa.Table:
    """The payments from number `first` on, in order of time, 50 a second; a few cards pay often, or all alike."""
    rng = np.random.default_rng(first)
    start = np.datetime64("2026-01-01", "us").astype(np.int64)
    card = rng.integers(0, cards, count) if even else rng.zipf(1.3, count) % cards
    return pa.table(
        {
            "payment_id": pa.array([f"p{i:012d}" for i in range(first, first + count)]),
            "card": pa.array([f"c{i:08d}" for i in card]),
            "paid_at": pa.array(start + np.arange(first, first + count) * 20_000, pa.timestamp("us", "UTC")),
            "store": pa.array(rng.integers(0, STORES, count), pa.int32()),
            "amount": rng.gamma(2.0, 30.0, count),
            "items": pa.array(rng.integers(1, 20, count), pa.int32()),
            "discount": pa.array(rng.random(count), mask=rng.random(count) < 0.7),
            "channel": pa.array(np.array(["web", "app", "till"])[rng.integers(0, 3, count)]),
            "first_time": pa.array(rng.random(count) < 0.1),
            "points": pa.array(rng.integers(0, 10_000, count)),
        }
    )


def features(count: int = 10) -> list[Any]:
    """Five features, ten, or more in tens: four over a window of their own, and six expressions."""
    if count == 5:
        return [
            tm.fields("amount"),
            tm.lookup("stores", on=["store"], columns=["risk"]),
            tm.expression(per_item=pl.col("amount") / pl.col("items")),
            tm.window("card", over="1h", earlier=tm.count(), spent=tm.sum("amount")),
        ]
    made = [
        tm.fields("amount", "items", "points"),
        tm.lookup("stores", on=["store"], columns=["mean_basket", "risk"]),
        tm.expression(per_item=pl.col("amount") / pl.col("items")),
        tm.window("card", over="1h", earlier=tm.count(), spent=tm.sum("amount"), usual=tm.mean("amount")),
        tm.expression(usual_amount=pl.col("usual").fill_null(0.0)),
    ]
    for ten in range(1, count // 10):
        sums = {f"{name}_{ten}": tm.sum(name) for name in ("amount", "items", "points")}
        made.append(tm.window("card", over=f"{ten + 1}h", **{f"earlier_{ten}": tm.count()}, **sums))
        scaled = {f"scaled_{ten}_{i}": (pl.col("amount") - 10.0 * i) / (pl.col("items") + ten) for i in range(6)}
        made.append(tm.expression(**scaled))
    return made


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


def declare(
    name: str = "bench",
    *,
    partitions: int = 4,
    count: int = 10,
    publish: Sequence[str] | None = None,
    checks: Sequence[Any] = (),
) -> tm.Pipeline:
    """The pipeline with `count` features, all of which the model sees but the one that may be null."""
    if not (HOME / "stores.parquet").exists():
        write_stores(HOME)
    declared = features(count)
    names = [name for feature in declared for name in feature.names if name != "usual"]
    return tm.Pipeline(
        name,
        tm.Events(PAYMENT, key="card", time="paid_at", id="payment_id"),
        checks=[tm.present("card"), tm.check("points_are_earned", pl.col("points") >= 0), *checks],
        tables=[tm.file_table("stores", HOME / "stores.parquet", key=["store"])],
        features=declared,
        labels=tm.Labels(CHARGEBACK, id="payment_id", label=pl.col("charged_back")),
        model=tm.Model(make_pipeline(StandardScaler(), LogisticRegression()), names, prior=0.01),
        partitions=partitions,
        **({} if publish is None else {"publish": tuple(publish)}),
    )


def fitted(pipeline: tm.Pipeline) -> Any:
    """The declared model, fitted: what it has learnt does not matter to its speed."""
    model = pipeline.model
    assert model is not None
    frame = pd.DataFrame(np.random.default_rng(2).random((2_000, len(model.features))), columns=list(model.features))
    return model.estimator.fit(frame, frame["risk"] + frame["amount"] > 1)


pipeline = declare(**json.loads(os.environ.get("TIDEMILL_BENCH", "{}")))
