import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.drift import (
    NumberSketch,
    OutcomeBlock,
    Scope,
    from_table,
    merge_all,
    profile_of,
    profile_of_outcomes,
    profile_of_predictions,
    to_table,
)
from tidemill.processors.drift.buckets import lower_bounds, values_of
from tidemill.processors.drift.number_kernel import RELATIVE_ERROR, key_of
from tidemill.processors.drift.number_sketch import code_of
from tidemill.processors.online_inference import Target
from tidemill.schemas.builtin import PROFILE
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import DeclarationError
from tidemill.schemas.resolver import KnownSchemas

DAY = Scope("flights", 0, 86_400_000, "origin=JFK", "v1")
CODEC = Codec(PROFILE, KnownSchemas([PROFILE]))


def table(rows, seed=0):
    rng = np.random.default_rng(seed)
    late = rng.random(rows)
    return pa.table(
        {
            "source_partition": pa.array(rng.integers(0, 3, rows), pa.int32()),
            "source_offset": pa.array(rng.integers(0, 1_000, rows)),
            "delay": pa.array(rng.normal(0, 1e6, rows) ** 3, mask=rng.random(rows) < 0.1),
            "stops": pa.array(rng.integers(-2, 3, rows), pa.int32()),
            "carrier": pa.array([f"c{i}" for i in rng.integers(0, 3 if rows < 100 else 5_000, rows)], pa.string()),
            "night": pa.array(late > 0.5),
            "value": pa.array(late > 0.5),
            "probability_false": pa.array(1 - late),
            "probability_true": pa.array(late),
            "label": pa.array(rng.random(rows) < late, mask=rng.random(rows) < 0.1),
        }
    )


def features(rows, seed=0):
    return profile_of(table(rows, seed), "features", ["delay", "stops", "carrier", "night"], DAY)


def size(*profiles):
    return len(CODEC.encode(to_table([merge_all(profiles)]))[0])


def test_a_profile_of_features():
    made = features(50)
    assert list(made.numbers) == ["delay", "stops"]
    assert list(made.categories) == ["carrier", "night"]
    assert made.rows == made.numbers["delay"].rows == made.categories["night"].rows == 50
    whole = table(50).to_pandas()
    for partition, group in whole.groupby("source_partition"):
        assert made.offsets[partition] == (group["source_offset"].min(), group["source_offset"].max())
    assert made.categories["carrier"].counts == whole["carrier"].value_counts().to_dict()


@pytest.mark.parametrize("rows", [0, 1, 50, 5_000])
def test_the_contract_holds_every_kind_of_profile(rows):
    target, data = Target((False, True)), table(rows)
    blocks = (OutcomeBlock(1_000, 5, 2, 0.75), OutcomeBlock(2_000, 1, 0, 0.1))
    profiles = [
        features(rows),
        profile_of_predictions(data, target, DAY),
        profile_of_outcomes(data, target, DAY, blocks),
        profile_of_outcomes(data.select(["value", "label"]).cast(NUMBERS), Target(), DAY),
    ]
    messages = CODEC.encode(to_table(profiles))
    decoded = CODEC.decode(messages)
    assert not decoded.bad
    back = from_table(decoded.table)
    assert CODEC.encode(to_table(back)) == messages
    assert [profile.scope for profile in back] == [DAY] * 4
    assert back[0].offsets == profiles[0].offsets
    assert back[2].sequence == blocks
    assert back[2].quality.metrics() == profiles[2].quality.metrics()
    assert back[3].quality.metrics() == profiles[3].quality.metrics()


NUMBERS = pa.schema([("value", pa.float64()), ("label", pa.float64())])


def test_outcomes_leave_out_what_has_no_label_or_one_that_is_not_declared():
    data = table(50)
    made = profile_of_outcomes(data, Target((False, True)), DAY)
    assert made.categories["label"].missing == data["label"].null_count > 0
    assert made.quality.rows == 50 - data["label"].null_count
    named = data.set_column(9, "label", pa.array(["a", "b", "other", None, *["b"] * 46]))
    named = named.rename_columns([*named.column_names[:7], "probability_a", "probability_b", "label"])
    assert profile_of_outcomes(named, Target(("a", "b")), DAY).quality.rows == 48


def test_adding_up():
    one, two, three = (features(50, seed) for seed in range(3))
    whole = profile_of(
        pa.concat_tables([table(50, seed) for seed in range(3)]),
        "features",
        ["delay", "stops", "carrier", "night"],
        DAY,
    )
    expected = CODEC.encode(to_table([whole]))
    assert CODEC.encode(to_table([one.merge(two).merge(three), three.merge(one.merge(two))])) == expected * 2


def test_windows_and_versions_are_united():
    next_day = Scope("flights", 86_400_000, 2 * 86_400_000, "origin=JFK", "v2")
    one, two = features(5), profile_of(table(5), "features", ["delay"], next_day)
    both = one.merge(two)
    assert both.scope == Scope("flights", 0, 2 * 86_400_000, "origin=JFK", "v1,v2")
    assert both.merge(one).scope.model_version == "v1,v2"
    assert both.numbers["stops"].rows == 5
    assert both.numbers["delay"].rows == 10


def test_a_sequence_does_not_add_up():
    one = profile_of_outcomes(table(5), Target((False, True)), DAY, (OutcomeBlock(1, 5, 2, 0.5),))
    assert merge_all([one]).sequence
    assert merge_all([one, one]).sequence == ()


@pytest.mark.parametrize("other", [Scope("flights", 0, 1, "origin=EWR"), Scope("trains", 0, 1, "origin=JFK")])
def test_other_slices_and_pipelines_are_not_added(other):
    with pytest.raises(ValueError, match="of one kind, pipeline and slice"):
        features(5).merge(profile_of(table(5), "features", ["delay"], other))


def test_memory_does_not_grow_with_the_events():
    spread = [
        profile_of(
            pa.table({"x": np.random.default_rng(i).normal(size=20_000) * 10.0 ** (i % 300)}), "features", ["x"], DAY
        )
        for i in range(0, 300, 20)
    ]
    assert size(*spread) < 2 * 2_048 * 2 * 4
    many = [features(2_000, seed) for seed in range(12)]
    assert size(*many) < 20_000
    assert size(*many) < 1.5 * size(*many[:4])


def test_a_time_has_no_profile():
    with pytest.raises(DeclarationError, match=r"column 'at' \(timestamp\[us\]\) has no profile"):
        profile_of(pa.table({"at": pa.array([1], pa.timestamp("us"))}), "features", ["at"], DAY)


def test_integers_decimals_and_single_precision_are_numbers():
    for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(10, 2)):
        sketch = NumberSketch.of(pa.array([1, None, 3]).cast(pa.float64()).cast(kind))
        assert (sketch.count, sketch.missing, sketch.sum) == (2, 1, 4.0)


def test_no_bucket_is_wider_than_the_relative_error():
    keys = np.arange(-35_000, 35_000)
    low, middle, high = lower_bounds(keys), values_of(keys), lower_bounds(keys + 1)
    assert ((high - middle) / high < RELATIVE_ERROR + 1e-12).all()
    assert ((middle - low) / low < RELATIVE_ERROR + 1e-12).all()
    assert ((high / low).max()) == pytest.approx((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
    # Each number has the key of the bucket that it lies in.
    assert [key_of(int(bits)) for bits in middle[::997].view(np.int64)] == keys[::997].tolist()


def test_codes_rise_with_the_values():
    values = [-np.inf, -1e300, -2.0, -1e-300, -5e-324, 0.0, 1e-300, 1.0, 3.0, 1e300, np.inf]
    codes = [code_of(value) for value in values]
    assert codes == sorted(codes)
    assert codes[4] == codes[5] == 0


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="from 0 to 1, got 95"):
        NumberSketch.of(np.array([1.0])).quantile(95)
