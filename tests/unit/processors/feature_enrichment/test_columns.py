import polars as pl
import pyarrow as pa
import pytest

from tidemill.processors.feature_enrichment.columns import feature_type, polars_type, to_arrow, to_frame
from tidemill.schemas.errors import DeclarationError


def test_codes_are_replaced_by_their_values():
    table = pa.table({"carrier": pa.array(["UA", "AA", None]).dictionary_encode()})
    assert to_frame(table)["carrier"].dtype == pl.String
    assert to_frame(table)["carrier"].to_list() == ["UA", "AA", None]


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        (pl.Boolean(), pa.bool_()),
        (pl.Int8(), pa.int32()),
        (pl.UInt16(), pa.int32()),
        (pl.UInt32(), pa.int64()),
        (pl.Float32(), pa.float32()),
        (pl.String(), pa.string()),
        (pl.Date(), pa.date32()),
        (pl.Datetime("ms", "UTC"), pa.timestamp("us", "UTC")),
        (pl.Datetime("ns"), pa.timestamp("us")),
    ],
)
def test_features_have_types_that_the_log_has(kind, arrow):
    assert feature_type("f", kind) == arrow
    column = pl.Series([None], dtype=kind).cast(polars_type(arrow))
    assert to_arrow(column, arrow).type == arrow


@pytest.mark.parametrize(
    "kind",
    [
        pl.UInt64(),
        pl.Int128(),
        pl.Duration(),
        pl.Time(),
        pl.Null(),
        pl.List(pl.Int64()),
        pl.Datetime("us", "Europe/Paris"),
    ],
    ids=str,
)
def test_other_types_are_refused_with_advice(kind):
    with pytest.raises(DeclarationError, match=r"feature 'f' has the type .*; expected .* convert it"):
        feature_type("f", kind)
