from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from tidemill.examples.flights import data, source


@pytest.fixture(scope="module")
def departures() -> pl.DataFrame:
    return pl.DataFrame(data.departures())


@pytest.fixture(scope="module")
def weather() -> pl.DataFrame:
    return pl.DataFrame(data.weather())


def test_weather_is_unique_and_sorted_also_when_clocks_change(weather: pl.DataFrame) -> None:
    keys = weather.select("origin", "hour")
    assert keys.is_unique().all()
    assert keys.equals(keys.sort("origin", "hour"))
    autumn = pl.col("hour").is_between(
        pl.datetime(2013, 11, 3, 6, time_zone="UTC"), pl.datetime(2013, 11, 3, 8, time_zone="UTC")
    )
    assert weather.filter(autumn).group_by("origin").len()["len"].to_list() == [3, 3, 3]


def test_weather_is_complete_when_it_is_looked_up(weather: pl.DataFrame) -> None:
    columns = {"origin": pl.String, "time_hour": pl.String, "temp": pl.Float64}
    raw = source.read("weather", columns).with_columns(complete=source.instant("time_hour") + pl.duration(hours=1))
    matched = weather.join(raw, left_on=["origin", "hour"], right_on=["origin", "complete"])
    assert matched.height == raw.height == weather.height
    assert matched["temp"].equals(matched["temp_right"])


def test_looking_up_by_known_at_finds_all_but_the_missing_hours(
    weather: pl.DataFrame, departures: pl.DataFrame
) -> None:
    keyed = departures.with_columns(hour=pl.col("known_at").dt.truncate("1h"))
    missing = keyed.join(weather, on=["origin", "hour"], how="anti")
    assert missing.height == 1_404
    last_day = pl.col("known_at") >= pl.datetime(2013, 12, 31, 5, time_zone="UTC")
    assert missing.filter(last_day).height == departures.filter(last_day).height


def test_scheduled_hour_would_be_ahead_of_some_departures(departures: pl.DataFrame) -> None:
    early = departures.filter(pl.col("scheduled_departure").dt.truncate("1h") > pl.col("known_at"))
    assert early.height > 1_000


def test_broken_wind_is_null(weather: pl.DataFrame) -> None:
    raw = source.read("weather", {"wind_speed": pl.Float64})
    assert raw["wind_speed"].max() > 1_000
    assert weather["wind_speed"].max() < 50
    assert weather["wind_speed"].null_count() == raw["wind_speed"].null_count() + 1


def test_planes_are_unique_and_sorted_and_some_aircraft_are_not_among_them(departures: pl.DataFrame) -> None:
    planes = pl.DataFrame(data.planes())
    assert planes["tail_number"].is_unique().all()
    assert planes["tail_number"].is_sorted()
    assert planes["built"].null_count() == 70
    unknown = departures.join(planes, on="tail_number", how="anti")
    assert unknown.height == 52_606
    assert unknown.filter(pl.col("carrier").is_in(["AA", "MQ"])).height == 47_955


def test_every_airport_of_the_flights_has_a_time_zone(departures: pl.DataFrame) -> None:
    airports = pl.DataFrame(data.airports())
    assert airports["faa"].is_unique().all()
    assert airports["faa"].is_sorted()
    zoned = set(airports.filter(pl.col("zone").is_not_null())["faa"])
    assert set(departures["destination"]) | set(departures["origin"]) <= zoned


def test_materialised_files_hold_the_tables_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    data.materialise(tmp_path / "new" / "one")
    data.materialise(tmp_path / "two")
    for name, table in (("weather", data.weather()), ("planes", data.planes())):
        first, second = tmp_path / "new" / "one" / f"{name}.parquet", tmp_path / "two" / f"{name}.parquet"
        assert pq.read_table(first).equals(table)
        assert first.read_bytes() == second.read_bytes()
