"""What fits together, what does not, and what it is called and typed."""

import polars as pl
import pyarrow as pa
import pytest

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment import ReferenceTable
from tidemill.schemas.errors import DeclarationError


def test_features_are_typed_before_any_event_in_declared_order(enrichment, weather, planes):
    stage = enrichment(
        fe.window("tail_number", "1h", flights=fe.count(), delay_mean=fe.mean("delay"), origins=fe.distinct("origin")),
        fe.fields("distance", "origin"),
        fe.expression(
            hour=pl.col("departure").dt.hour(),
            far=pl.col("distance") > 1000,
            name_length=pl.col("origin").str.len_chars(),
        ),
        fe.lookup("weather", on=["origin", "hour"], columns=["wind", "sky"]),
        fe.lookup("planes", on=["tail_number"], columns=["seats"]),
        fe.expression(per_seat=pl.col("delay_mean") / pl.col("seats")),
        tables=[weather, planes],
    )
    features = [
        pa.field("flights", pa.int64(), nullable=False),
        pa.field("delay_mean", pa.float64()),
        pa.field("origins", pa.int64(), nullable=False),
        pa.field("distance", pa.int32()),
        pa.field("origin", pa.string()),
        pa.field("hour", pa.int32()),
        pa.field("far", pa.bool_()),
        pa.field("name_length", pa.int64()),
        pa.field("wind", pa.float32()),
        pa.field("sky", pa.string()),
        pa.field("seats", pa.int32()),
        pa.field("per_seat", pa.float64()),
    ]
    assert stage.features_schema() == features
    assert stage.schema.names[:7] == [
        "event_id",
        "event_key",
        "event_time",
        "source_partition",
        "source_offset",
        "pipeline_version",
        "planes_version",
    ]
    assert list(stage.schema)[7:] == features


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([fe.fields("distnace")], "fields.*'distnace'; did you mean 'distance'"),
        ([fe.expression(a=pl.col("distnace"))], "'a' refers to 'distnace'.*neither.*did you mean 'distance'"),
        (
            [fe.expression(a=pl.col("b")), fe.expression(b=pl.col("delay"))],
            "'a' refers to 'b', which is declared after",
        ),
        ([fe.expression(a=pl.col("a") + 1)], "'a' refers to 'a'"),
        ([fe.expression(a=pl.col("origin") * 2.5)], "feature 'a' cannot be computed"),
        ([fe.expression(a=pl.col("distance").hash())], "feature 'a' has the type UInt64"),
        ([fe.expression(a=pl.col("distance").shift())], "feature 'a' mixes rows"),
        ([fe.expression(distance=pl.col("distance") * 2)], "'distance' has the name of an event field.*fields"),
        ([fe.expression(a=pl.lit(1)), fe.expression(a=pl.lit(2))], "two columns.*'a'"),
        ([fe.fields("distance", "distance")], "two columns.*'distance'"),
        ([fe.expression(event_id=pl.lit(1))], "two columns.*'event_id'"),
        (
            [fe.expression(planes_version=pl.lit(1)), fe.lookup("planes", ["tail_number"], ["seats"])],
            "'planes_version'",
        ),
        ([fe.expression(größe=pl.lit(1))], "'größe': expected a name of letters"),
        ([fe.window("tailnumber", "1h", n=fe.count())], "no field 'tailnumber'; did you mean 'tail_number'"),
        (
            [fe.window("delay", "1h", n=fe.count())],
            "'delay' is double; expected a string.*to keep a window by",
        ),
        ([fe.window("tail_number", "1h", n=fe.sum("dely"))], "n refers to 'dely'.*did you mean 'delay'"),
        ([fe.window("tail_number", "1h", n=fe.sum("origin"))], "n is the sum of 'origin', which is string; expected"),
        ([fe.window("tail_number", "1h", n=fe.std("dely"))], "n refers to 'dely'.*did you mean 'delay'"),
        ([fe.window("tail_number", "1h", n=fe.std("origin"))], "n is the std of 'origin', which is string; expected"),
        ([fe.window("tail_number", "1h", n=fe.first("origin"))], "n is the first of 'origin'.*integers, floating"),
        ([fe.window("tail_number", "1h", n=fe.distinct("orgin"))], "n refers to 'orgin'.*did you mean 'origin'"),
        (
            [fe.window("tail_number", "1h", n=fe.distinct("photo"))],
            "n is the distinct of 'photo', which is binary; expected numbers, booleans, strings",
        ),
        (
            [fe.window("tail_number", "1h", n=fe.count()), fe.window("tail_number", "2h", m=fe.max("n"))],
            "m aggregates 'n', which comes from a window itself",
        ),
        (
            [fe.window("tail_number", "1h", n=fe.count()), fe.window("tail_number", "60m", m=fe.count())],
            "another window has the same key, span and aggregates",
        ),
        ([fe.lookup("wether", ["origin", "distance"], ["wind"])], "lookup.'wether'.*did you mean 'weather'"),
        (
            [fe.lookup("weather", ["origin"], ["wind"])],
            "one field for each column of the table's key .place, hour.*got origin",
        ),
        ([fe.lookup("weather", ["origin", "distanc"], ["wind"])], "refers to 'distanc'.*did you mean 'distance'"),
        (
            [fe.lookup("weather", ["distance", "origin"], ["wind"])],
            "'distance' is a whole number and .*'place' a string",
        ),
        ([fe.lookup("weather", ["origin", "delay"], ["wind"])], "'delay' is a double and .*'hour' a whole number"),
        ([fe.lookup("weather", ["origin", "distance"], ["wnd"])], "no column 'wnd'; did you mean 'wind'"),
        ([fe.lookup("weather", ["origin", "distance"], ["wind"], prefix="a-")], "'a-wind': expected a name of letters"),
        (["distance"], "expected features made by fields.*got 'distance'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(enrichment, weather, planes, features, message):
    with pytest.raises(DeclarationError, match=message):
        enrichment(*features, tables=[weather, planes])


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"id_field": "idd"}, "no field 'idd' to be its id; did you mean 'id'"),
        ({"id_field": "delay"}, "'delay' is the event's id and has the type double; expected a string"),
        ({"key_field": "tail"}, "no field 'tail' to be its key"),
        ({"time_field": "distance"}, "'distance' is the event's time and has the type int32; expected a timestamp"),
    ],
)
def test_the_fields_with_a_role_must_be_there_and_suit_it(enrichment, roles, message):
    with pytest.raises(DeclarationError, match=message):
        enrichment(fe.fields("distance"), **roles)


def test_a_table_used_twice_has_one_version(enrichment, planes):
    stage = enrichment(
        fe.lookup("planes", ["tail_number"], ["seats"]),
        fe.lookup("planes", ["origin"], ["seats"], prefix="other_"),
        tables=[planes],
    )
    assert stage.schema.names[6:] == ["planes_version", "seats", "other_seats"]


def test_a_table_column_without_a_type_in_the_log_is_refused(enrichment):
    table = ReferenceTable("t", pa.schema([("k", pa.string()), ("spans", pa.duration("us"))]), ["k"])
    with pytest.raises(DeclarationError, match="feature 'spans' has the type Duration"):
        enrichment(fe.lookup("t", ["origin"], ["spans"]), tables=[table])


def test_neighbouring_expressions_are_one_step_unless_one_reads_the_other(enrichment):
    stage = enrichment(
        fe.expression(hour=pl.col("departure").dt.hour(), far=pl.col("distance") > 1000),
        fe.expression(late=pl.col("hour") > 20),
        fe.expression(short=pl.col("distance") < 100),
    )
    assert [step.names for step in stage.plan.before] == [("hour", "far"), ("late", "short")]
