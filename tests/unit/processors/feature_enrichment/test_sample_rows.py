import pyarrow as pa
import pytest

from tidemill.processors.feature_enrichment.sample_rows import sample_rows

TYPES = [
    pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(),
    pa.large_string(), pa.string_view(), pa.binary(), pa.binary(4), pa.large_binary(), pa.date32(), pa.time32("ms"),
    pa.time64("us"), pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("ns"), pa.duration("us"),
    pa.decimal128(9, 2), pa.list_(pa.int32()), pa.large_list(pa.string()), pa.map_(pa.string(), pa.float64()),
    pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))]), pa.dictionary(pa.int32(), pa.string()),
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type_has_repeated_values_and_nulls_where_they_may_be(kind):
    rows = sample_rows(pa.schema([pa.field("a", kind), pa.field("b", kind, nullable=False)]), 61)
    assert rows.num_rows == 61
    assert 0 < rows["a"].null_count < 30
    assert rows["b"].null_count == 0
    distinct = {str(value) for value in rows["b"].to_pylist()}
    assert 2 <= len(distinct) <= 30


def test_the_rows_are_always_the_same_and_columns_are_not_aligned():
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.int64(), nullable=False)])
    rows = sample_rows(schema, 300)
    assert rows.equals(sample_rows(schema, 300))
    assert len(set(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True))) > 100
