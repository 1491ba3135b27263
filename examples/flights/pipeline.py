"""Will a flight that leaves New York now arrive more than 15 minutes late? A year of real departures.

tidemill run examples/flights/pipeline.py
"""

import os
from pathlib import Path

import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

import tidemill as tm
from tidemill.examples.flights.data import materialise

TABLES = Path(os.environ.get("TIDEMILL_HOME", ".tidemill")).absolute() / "flights"
if not (TABLES / "planes.parquet").exists():
    materialise(TABLES)

departures = tm.Events("departure.avsc", key="tail_number", time="known_at", id="flight_id")
arrivals = tm.Labels(
    "arrival.avsc", id="flight_id", label=pl.col("arrival_delay") > 15, time="arrived_at", within="14d"
)

NUMBERS = [
    "departure_delay",
    "distance",
    "scheduled_minutes",
    "hour_of_day",
    "wind_speed",
    "visibility",
    "precip",
    "plane_age",
    "earlier_flights",
    "earlier_delay",
    "airport_departures",
    "airport_delay",
]
WORDS = ["carrier", "origin"]

# Clipping keeps every number within what training has seen, so that one absurd value cannot drive a prediction.
numbers = make_pipeline(
    SimpleImputer(strategy="median", keep_empty_features=True), MinMaxScaler(clip=True), StandardScaler()
)
classifier = make_pipeline(
    make_column_transformer((numbers, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), WORDS)),
    LogisticRegression(C=0.1, max_iter=1000),
)

words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
boosted = make_pipeline(
    make_column_transformer((words, WORDS), remainder="passthrough"),
    HistGradientBoostingClassifier(max_iter=60, categorical_features=[0, 1]),
)

pipeline = tm.Pipeline(
    "flights",
    departures,
    checks=[
        # A cancelled flight is a sound event, but there is no arrival to predict.
        tm.present("departure_delay"),
        tm.check("arrives_after_departure", pl.col("scheduled_arrival") > pl.col("scheduled_departure")),
        tm.not_in_future("5m"),
        # Events come in order of time; a replay that starts again in January is late and must not move the windows.
        tm.not_late("2d"),
        tm.unique(within="1d"),
        tm.present("tail_number", on_failure="warn"),
    ],
    tables=[
        tm.file_table("weather", TABLES / "weather.parquet", key=["origin", "hour"]),
        tm.file_table("planes", TABLES / "planes.parquet", key=["tail_number"]),
    ],
    features=[
        tm.fields("departure_delay", "distance", "carrier", "origin"),
        # The last full hour of weather that was known when the flight left.
        tm.expression(weather_hour=pl.col("known_at").dt.truncate("1h")),
        tm.lookup("weather", on=["origin", "weather_hour"], columns=["wind_speed", "visibility", "precip"]),
        tm.lookup("planes", on=["tail_number"], columns=["built"]),
        tm.expression(
            plane_age=pl.col("known_at").dt.year() - pl.col("built"),
            scheduled_minutes=(pl.col("scheduled_arrival") - pl.col("scheduled_departure")).dt.total_minutes(),
            hour_of_day=pl.col("scheduled_departure").dt.convert_time_zone("America/New_York").dt.hour(),
        ),
        tm.window("tail_number", over="12h", earlier_flights=tm.count(), earlier_delay=tm.mean("departure_delay")),
        # Events come by aircraft: what is going on at an airport costs one hop through an internal topic.
        tm.window("origin", over="2h", airport_departures=tm.count(), airport_delay=tm.mean("departure_delay")),
    ],
    labels=arrivals,
    # Until a model is announced: about one flight in five is late, by the industry's own long-run figures.
    model=tm.Model(
        estimator=classifier,
        features=[*NUMBERS, *WORDS],
        prior=0.2,
        candidates=[
            tm.Candidate(
                "boosted", boosted, search={"histgradientboostingclassifier__learning_rate": tm.log_uniform(0.05, 0.3)}
            )
        ],
        search_trials=2,
    ),
    # What drifts leads to a challenger, at most every three weeks; it learns from the newest flights.
    retrain=tm.Retrain(cooldown="21d", budget="8/365d", least_labels=27_000, select=[tm.last_rows(60_000)]),
    gates=tm.Gates(slices={"origin": 0.02}),
    rollout=tm.Rollout(shadow="2d", canary=0.2, canary_for="2d", probation="4d"),
    # Days differ within a week, so weeks are compared with what the model was trained on.
    profiles=tm.Profiles(window="7d"),
    # A year that is sent in minutes: what pauses for a second seems to be days behind.
    idle="2s",
    base=Path(__file__).parent,
)
