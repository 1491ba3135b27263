import polars as pl
import pyarrow as pa
import pytest

from tidemill.processors.feature_enrichment.rowwise import require_rowwise
from tidemill.schemas.errors import DeclarationError

SCHEMA = pa.schema(
    [
        ("number", pa.float64()),
        pa.field("whole", pa.int32(), nullable=False),
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("time", pa.timestamp("ms", "UTC")),
        ("day", pa.date32()),
        ("carrier", pa.dictionary(pa.int32(), pa.string())),
        ("parts", pa.list_(pa.int64())),
    ]
)
number, whole, text, flag, time, day = map(pl.col, SCHEMA.names[:6])


@pytest.mark.parametrize(
    "expression",
    [
        number * 2 + whole,
        number.log().exp().sin(),
        (number / whole).fill_nan(None),
        number.fill_null(0).clip(-1, 1),
        number.is_between(0, 10) & flag,
        text.str.len_chars(),
        text.str.to_lowercase() + "!",
        text.is_in(["EWR", "JFK"]),
        text.cast(pl.Int64, strict=False),
        text.cast(pl.Int64),
        text.str.to_datetime("%Y-%m-%d", strict=False),
        text.hash(),
        text.replace_strict({"EWR": 1}, default=0),
        text.cast(pl.Enum(["EWR", "JFK"]), strict=False),
        pl.when(flag).then(number).otherwise(whole),
        pl.coalesce(number, whole),
        pl.max_horizontal(number, whole),
        pl.concat_str("text", "carrier", separator="-"),
        pl.col("parts").list.sum(),
        pl.col("carrier") == "EWR",
        pl.lit(1),
        time.dt.hour(),
        time.dt.truncate("1h"),
        (time - pl.lit(0).cast(pl.Datetime("ms", "UTC"))).dt.total_minutes(),
        day.dt.weekday(),
    ],
    ids=str,
)
def test_expressions_of_one_row_pass(expression):
    require_rowwise("feature", expression, SCHEMA)


@pytest.mark.parametrize(
    "expression",
    [
        number.mean(),
        number - number.mean(),
        number.max(),
        whole.sum(),
        pl.len(),
        number.shift(1),
        number.shift(-1),
        number.shift(1000),
        whole.diff(),
        whole.pct_change(),
        whole.cum_sum(),
        flag.cum_count(),
        number.rank(),
        number.sort(),
        number.reverse(),
        number.shuffle(seed=1),
        whole.sample(fraction=1.0, shuffle=True, seed=3),
        number.fill_null(strategy="forward"),
        number.interpolate(),
        number.rolling_mean(3),
        number.rolling_mean(500),
        number.ewm_mean(half_life=2),
        number.rank().over("text"),
        number.mean().over("text"),
        text.unique(),
        text.is_duplicated(),
        text.is_first_distinct(),
        text.filter(flag),
        text.mode().first(),
        text.str.to_datetime(strict=False),
        pl.int_range(pl.len()),
        whole.search_sorted(5),
        whole.is_in(pl.col("whole").shift(1).implode()),
        pl.lit(pl.Series([1, 2, 3])),
        number.head(1),
        pl.col("parts").explode(),
    ],
    ids=str,
)
def test_expressions_that_mix_rows_are_refused_by_name(expression):
    with pytest.raises(DeclarationError, match=r"feature 'feature' mixes rows.*use window\(\)"):
        require_rowwise("feature", expression, SCHEMA)


def test_an_expression_that_always_raises_is_refused():
    with pytest.raises(DeclarationError, match=r"raises on every row that it was tried on.*strict=False"):
        require_rowwise("feature", pl.concat_str(whole, pl.lit(" o'clock")).cast(pl.Int64), SCHEMA)
