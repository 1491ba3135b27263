"""What is known beside the departures: the weather, the aircraft and the airports."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.examples.flights.source import instant, read

WEATHER = pa.schema(
    [
        ("origin", pa.string()),
        ("hour", pa.timestamp("us", tz="UTC")),
        ("wind_speed", pa.float64()),
        ("visibility", pa.float64()),
        ("precip", pa.float64()),
        ("temp", pa.float64()),
        ("humidity", pa.float64()),
        ("pressure", pa.float64()),
    ]
)

PLANES = pa.schema(
    [
        ("tail_number", pa.string()),
        ("built", pa.int32()),
        ("seats", pa.int32()),
        ("engines", pa.int32()),
        ("manufacturer", pa.string()),
    ]
)

AIRPORTS = pa.schema(
    [
        ("faa", pa.string()),
        ("name", pa.string()),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        ("zone", pa.string()),
    ]
)

# Far above any wind measured in New York: one row says 1048 mph.
BROKEN_WIND = 200.0

# Destinations of 7,602 flights that the package's table of airports leaves out. All keep Atlantic time all year.
CARIBBEAN = ("BQN", "PSE", "SJU", "STT")


def weather() -> pa.Table:
    """Give the last full hour's weather at each origin by (`origin`, `hour`), unique and sorted.

    A row of the source gathers the station's reports from a full hour to 51 minutes past it, and has the highest value
    of each quantity (data-raw/weather.R of the R package). It is complete only at the next full hour, which is the
    `hour` here: look it up with `known_at` cut to the hour, and no report is used that came after the departure.
    `scheduled_departure` cut to the hour can be later than the departure: flights leave up to 43 minutes early.

    Hours are UTC: by the local clock each origin has two rows for 01:00 on 3 November, in UTC none occurs twice. For
    1,404 departures, most of them on 31 December, there is no row: their weather is unknown.

    Units: mph, miles (10 is the most that is reported), inches, °F, %, hPa. A wind above 200 mph is a broken reading
    and null. Gusts are left out: their null means both "no gusts" and "not measured".
    """
    columns = ("wind_speed", "visib", "precip", "temp", "humid", "pressure")
    raw = read("weather", {"origin": pl.String, "time_hour": pl.String, **dict.fromkeys(columns, pl.Float64)})
    table = raw.select(
        "origin",
        (instant("time_hour") + pl.duration(hours=1)).alias("hour"),
        pl.when(pl.col("wind_speed") <= BROKEN_WIND).then("wind_speed").alias("wind_speed"),
        pl.col("visib").alias("visibility"),
        "precip",
        "temp",
        pl.col("humid").alias("humidity"),
        "pressure",
    )
    return table.sort("origin", "hour").to_arrow().cast(WEATHER)


def planes() -> pa.Table:
    """Give the aircraft by `tail_number`, unique and sorted; `built` is a year and null for 70.

    52,606 departures have no row here: 2,512 name no aircraft, and two airlines (AA, MQ; 47,955 departures) often
    report fleet numbers, which the FAA's registry does not have. The age of such an aircraft is unknown.
    """
    raw = read(
        "planes",
        {"tailnum": pl.String, "year": pl.Int32, "seats": pl.Int32, "engines": pl.Int32, "manufacturer": pl.String},
    )
    return (
        raw.rename({"tailnum": "tail_number", "year": "built"})
        .sort("tail_number")
        .select(PLANES.names)
        .to_arrow()
        .cast(PLANES)
    )


def airports() -> pa.Table:
    """Give the airports by FAA code, unique and sorted: name, place (degrees) and IANA time zone.

    Four Caribbean destinations that the source leaves out have a zone only.
    """
    raw = read(
        "airports", {"faa": pl.String, "name": pl.String, "lat": pl.Float64, "lon": pl.Float64, "tzone": pl.String}
    ).rename({"tzone": "zone"})
    added = pl.DataFrame({"faa": CARIBBEAN, "zone": ["America/Puerto_Rico"] * len(CARIBBEAN)})
    return pl.concat([raw, added], how="diagonal").sort("faa").to_arrow().cast(AIRPORTS)


def materialise(folder: Path) -> None:
    """Write `weather.parquet` and `planes.parquet` into `folder`, made if need be; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(weather(), folder / "weather.parquet")
    pq.write_table(planes(), folder / "planes.parquet")
