import pyarrow as pa
import pytest

from tidemill.schemas.arrow_types import avro_type, generate
from tidemill.schemas.errors import SchemaError


@pytest.mark.parametrize(
    ("arrow", "back"),
    [
        (pa.bool_(), pa.bool_()),
        *[(t, pa.int32()) for t in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16())],
        *[(t, pa.int64()) for t in (pa.int64(), pa.uint32())],
        (pa.float32(), pa.float32()),
        (pa.float64(), pa.float64()),
        *[(t, pa.string()) for t in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))],
        *[(t, pa.binary()) for t in (pa.binary(), pa.large_binary())],
        (pa.date32(), pa.date32()),
        (pa.timestamp("s", "UTC"), pa.timestamp("ms", "UTC")),
        (pa.timestamp("ns", "Asia/Tokyo"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ms"), pa.timestamp("ms")),
        (pa.timestamp("us"), pa.timestamp("us")),
        (pa.decimal128(10, 3), pa.decimal128(10, 3)),
        (pa.list_(pa.float64()), pa.list_(pa.float64())),
    ],
)
def test_a_generated_contract_has_columns_for_the_types_that_it_was_made_from(arrow, back):
    contract = generate("Features", "mill", [pa.field("a", arrow), pa.field("b", arrow, nullable=False)], "doc")
    assert contract.arrow == pa.schema([pa.field("a", back), pa.field("b", back, nullable=False)])
    assert contract.field("a").has_default
    assert not contract.field("b").has_default


@pytest.mark.parametrize("arrow", [pa.uint64(), pa.duration("s"), pa.time64("ns"), pa.struct([("x", pa.int32())])])
def test_a_type_that_avro_has_not_is_named(arrow):
    with pytest.raises(SchemaError, match="no Avro type holds the Arrow type") as fault:
        avro_type(arrow, nullable=True)
    assert str(arrow) in str(fault.value)


def test_generation_names_the_field_and_keeps_its_doc():
    schema = pa.schema([pa.field("wind", pa.float64(), metadata={"doc": "m/s"}), pa.field("n", pa.null())])
    contract = generate("Features", "mill.flights", schema, "what serving computed")
    assert contract.name == "mill.flights.Features"
    assert contract.field("wind").doc == "m/s"
    assert contract.schema["doc"] == "what serving computed"
    assert contract.text == generate("Features", "mill.flights", schema, "what serving computed").text
    with pytest.raises(SchemaError, match=r"mill\.flights\.Features, field 'big': .*uint64; cast it to int64"):
        generate("Features", "mill.flights", [pa.field("big", pa.uint64())], "")
