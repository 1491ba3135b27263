"""The pipeline that faults are tried on: windows, ids that must be unique, and events that are rejected.

A pipeline file like any other, run by `tidemill run`; CHAOS_NAME and CHAOS_FOLDER tell the runs apart.
"""

import os
from pathlib import Path

import chaos_strike
import numpy as np
import polars as pl
import pyarrow as pa
from chaos_model import Moody
from job import CHARGEBACK, PAYMENT, payments

import tidemill as tm

DEADLINE_SECONDS = 2
CARDS = 500


def declare(name: str) -> tm.Pipeline:
    """The pipeline under a name of its own."""
    return tm.Pipeline(
        name,
        tm.Events(PAYMENT, key="card", time="paid_at", id="payment_id"),
        checks=[tm.present("card"), tm.unique("1h")],
        features=[
            tm.fields("amount", "items"),
            tm.expression(per_item=pl.col("amount") / pl.col("items")),
            tm.window("card", over="1h", earlier=tm.count(), spent=tm.sum("amount"), largest=tm.max("amount")),
            tm.window("card", over="5m", resolution="1s", lately=tm.mean("amount"), last=tm.last("amount")),
        ],
        labels=tm.Labels(CHARGEBACK, id="payment_id", label=pl.col("charged_back")),
        model=tm.Model(Moody(), ["amount", "spent"], prior=0.01, deadline="2s"),
        partitions=4,
    )


def events(first: int, count: int) -> pa.Table:
    """Payments, of which one in twenty comes twice: the second is rejected."""
    table = payments(first, count, CARDS, even=True)
    rng = np.random.default_rng(first)
    again = rng.random(count) < 0.05
    rows = np.arange(count)
    rows[again] = np.maximum(rows[again] - rng.integers(1, 200, int(again.sum())), 0)
    return table.take(pa.array(rows))


if "CHAOS_NAME" in os.environ:
    chaos_strike.install(Path(os.environ["CHAOS_FOLDER"]))
pipeline = declare(os.environ.get("CHAOS_NAME", "chaos"))
