from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.stage import Stage

NUMBER = pl.col("comment").cast(pl.Int64)


def rows(processed):
    return processed.accepted.table.to_pylist()


def column(processed, name):
    return processed.accepted.table[name].to_pylist()


def test_features_come_with_the_events_identity_and_place(enrichment, batch):
    stage: Stage = enrichment(fe.fields("distance"))
    done = stage.process(batch({"distance": 5, "departure": 90}, {"tail_number": None}, partitions=[3, 4], start=7))
    assert stage.name == "feature_enrichment"
    assert done.accepted.table.schema == stage.schema
    assert rows(done) == [
        {
            "event_id": "7",
            "event_key": "N1",
            "event_time": datetime(1970, 1, 1, 1, 30, tzinfo=UTC),
            "source_partition": 3,
            "source_offset": 7,
            "pipeline_version": "v1",
            "distance": 5,
        },
        {
            "event_id": "8",
            "event_key": None,
            "event_time": datetime(1970, 1, 1, 0, 1, tzinfo=UTC),
            "source_partition": 4,
            "source_offset": 8,
            "pipeline_version": "v1",
            "distance": None,
        },
    ]
    assert done.rejected == ()


def test_expressions_see_event_fields_and_earlier_features(enrichment, batch):
    stage = enrichment(
        fe.expression(km=pl.col("distance") * 1.6, far=pl.col("km") > 100, one=pl.lit(1)),
        fe.window("tail_number", "1h", km_sum=fe.sum("km"), far_share=fe.mean("far")),
        fe.expression(share=pl.col("km") / pl.col("km_sum")),
    )
    done = stage.process(batch({"distance": 100}, {"distance": 10}, {"distance": 20}))
    assert column(done, "far") == [True, False, False]
    assert column(done, "one") == [1, 1, 1]
    assert column(done, "km_sum") == [0.0, 160.0, 176.0]
    assert column(done, "far_share") == [None, 1.0, 0.5]
    assert column(done, "share") == [float("inf"), 0.1, 32 / 176]


def test_lookups_join_on_fields_and_features(enrichment, batch, weather):
    stage = enrichment(
        fe.expression(hour=pl.col("departure").dt.hour()),
        fe.lookup("weather", on=["origin", "hour"], columns=["sky", "wind"]),
        tables=[weather],
    )
    done = stage.process(batch({"departure": 61}, {"origin": "JFK"}, {"origin": "XXX"}, {"departure": 0}))
    assert column(done, "sky") == ["rain", "fog", None, "clear"]
    assert column(done, "wind") == [None, 3.0, None, 10.5]


def test_every_row_carries_the_version_of_a_topics_table(enrichment, batch, planes):
    stage = enrichment(fe.lookup("planes", on=["tail_number"], columns=["seats"]), tables=[planes])
    before = stage.process(batch({}))
    planes.upsert(["N1"], pa.table({"tail_number": ["N1"], "seats": pa.array([2], pa.int32()), "engine": ["jet"]}))
    planes.version = 17
    after = stage.process(batch({}, start=1))
    assert (column(before, "planes_version"), column(before, "seats")) == ([0], [None])
    assert (column(after, "planes_version"), column(after, "seats")) == ([17], [2])


def test_windows_are_per_partition_and_in_log_order(enrichment, batch):
    stage = enrichment(fe.window("tail_number", "1h", n=fe.count(), last=fe.last("distance")))
    done = stage.process(batch(*({"distance": d} for d in range(4)), partitions=[0, 0, 1, 1]))
    assert column(done, "n") == [0, 1, 0, 1]
    assert column(done, "last") == [None, 0.0, None, 2.0]
    later = stage.process(batch({"departure": 5}, {"departure": 6}, partitions=[0, 1], start=4))
    assert column(later, "n") == [2, 2]


def test_windows_tell_texts_days_and_numbers_apart(enrichment, batch):
    stage = enrichment(
        fe.expression(day=pl.col("departure").dt.date(), initial=pl.col("origin").str.slice(0, 1)),
        fe.window(
            "tail_number",
            "7d",
            origins=fe.distinct("origin"),
            initials=fe.distinct("initial", limit=2),
            days=fe.distinct("day"),
            times=fe.distinct("departure"),
            since=fe.time_since_last(),
        ),
    )
    done = stage.process(
        batch(
            {"origin": "EWR"},
            {"origin": "JFK", "departure": 0},
            {"origin": "JAX", "departure": 1440},
            {"departure": 1500},
        )
    )
    assert column(done, "origins") == [0, 1, 2, 3]
    assert column(done, "initials") == [0, 1, 2, 2]
    assert column(done, "days") == [0, 1, 1, 2]
    assert column(done, "times") == [0, 1, 1, 2]
    assert column(done, "since") == [None, 0.0, 86_400.0, 3600.0]


def test_an_event_for_which_an_expression_raises_is_rejected_alone(enrichment, batch):
    stage = enrichment(
        fe.expression(double=pl.col("distance") * 2, number=NUMBER),
        fe.window("tail_number", "1h", n=fe.count(), total=fe.sum("number")),
    )
    texts = ["1", "x", None, "3", "y"]
    done = stage.process(batch(*({"comment": text, "distance": i} for i, text in enumerate(texts))))
    assert column(done, "event_id") == ["0", "2", "3"]
    assert done.accepted.origin.offset.tolist() == [0, 2, 3]
    assert column(done, "double") == [0, 4, 6]
    assert column(done, "number") == [1, None, 3]
    # The windows have not seen the rejected ones.
    assert column(done, "n") == [0, 1, 2]
    assert column(done, "total") == [0.0, 1.0, 1.0]
    assert [(r.row, r.reason) for r in done.rejected] == [(1, "enrichment_failed"), (4, "enrichment_failed")]
    assert all("number could not be computed" in r.message for r in done.rejected)
    assert '"x"' in done.rejected[0].message
    assert '"y"' in done.rejected[1].message


def test_an_event_is_rejected_once_for_the_first_feature_that_it_fails(enrichment, batch):
    stage = enrichment(
        fe.expression(first=NUMBER),
        fe.expression(second=NUMBER + 1),
        fe.expression(third=pl.col("origin").cast(pl.Int64, strict=False)),
    )
    done = stage.process(batch({"comment": "x"}, {"comment": "1"}))
    assert [r.row for r in done.rejected] == [0]
    assert done.rejected[0].message.startswith("first could not")


def test_an_event_that_fails_after_the_windows_has_been_counted(enrichment, batch):
    stage = enrichment(
        fe.window("tail_number", "1h", n=fe.count()),
        fe.expression(
            left=(pl.lit("1") + pl.when(pl.col("n") == 1).then(pl.lit("x")).otherwise(pl.lit(""))).cast(pl.Int64)
        ),
    )
    done = stage.process(batch({}, {}, {}))
    assert column(done, "n") == [0, 2]
    assert [r.row for r in done.rejected] == [1]


def test_an_event_without_a_time_is_rejected(flight, batch):
    nullable = flight.arrow.set(1, flight.arrow.field("departure").with_nullable(True))
    stage = fe.FeatureEnrichment(
        [fe.window("tail_number", "1h", n=fe.count())],
        type("Contract", (), {"arrow": nullable}),
        id_field="comment",
        key_field="tail_number",
        time_field="departure",
        version="v1",
    )
    made = batch({"comment": "a"}, {"comment": "b"}, {}, {"comment": "d"})
    times = pa.array([0, None, None, 3], nullable.field("departure").type)
    done = stage.process(made.with_table(made.table.set_column(1, nullable.field("departure"), times)))
    assert column(done, "event_id") == ["a", "d"]
    assert column(done, "n") == [0, 1]
    assert [(r.row, r.reason) for r in done.rejected] == [(1, "enrichment_failed"), (2, "enrichment_failed")]
    assert (
        "'comment' is null; expected a value in every event, because it is the event's id" in done.rejected[1].message
    )


@pytest.mark.parametrize("events", [[], [{"comment": "x"}]], ids=["no events", "none accepted"])
def test_nothing_left_is_an_empty_table_of_the_schema(enrichment, batch, weather, events):
    stage = enrichment(
        fe.fields("origin"),
        fe.expression(number=NUMBER, one=pl.lit(1)),
        fe.lookup("weather", on=["origin", "number"], columns=["sky"]),
        fe.window("tail_number", "1h", n=fe.count(), late=fe.mean("delay")),
        fe.expression(more=pl.col("n") + 1),
        tables=[weather],
    )
    done = stage.process(batch(*events))
    assert done.accepted.table.equals(stage.schema.empty_table())
    assert len(done.accepted) == 0
    assert len(done.rejected) == len(events)


def test_a_stage_without_windows_has_no_stores(enrichment):
    assert enrichment(fe.fields("distance")).stores(0) == {}


def test_dropped_state_is_forgotten_and_restored_state_continues(enrichment, batch):
    stage = enrichment(fe.window("tail_number", "1h", n=fe.count()))
    stage.process(batch({}, {}))
    (name,) = stage.stores(0)
    saved = stage.stores(0)[name].rows(stage.stores(0)[name].changed())
    assert stage.clock(0) == {}
    stage.drop(0)
    stage.restore_clock(0, {})
    assert len(stage.stores(0)[name]) == 0
    stage.stores(0)[name].apply(saved)
    assert column(stage.process(batch({"departure": 2}, start=2)), "n") == [2]


event = st.fixed_dictionaries(
    {
        "tail_number": st.sampled_from(["N1", "N2", None]),
        "departure": st.integers(0, 200),
        "delay": st.none() | st.floats(-100, 100),
        "comment": st.sampled_from(["1", "2", "x", None, "3"]),
    }
)


@pytest.fixture
def many(enrichment, weather):
    return enrichment(
        fe.expression(number=NUMBER, root=pl.col("delay").abs().sqrt()),
        fe.lookup("weather", on=["origin", "number"], columns=["wind"]),
        fe.window("tail_number", "1h", "7m", "3m", n=fe.count("number"), mean=fe.decayed_mean("root", "20m")),
        fe.expression(odds=(pl.col("mean") + pl.col("number")).exp()),
        tables=[weather],
    )


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(event, max_size=40), size=st.integers(1, 7))
def test_no_outcome_depends_on_how_the_log_was_cut(many, batch, events, size):
    def outcomes(size):
        many.drop(0)
        accepted, rejected = [many.schema.empty_table()], []
        for start in range(0, len(events), size):
            done = many.process(batch(*events[start : start + size], start=start))
            accepted.append(done.accepted.table)
            rejected += [(r.row + start, r.message) for r in done.rejected]
        return pa.concat_tables(accepted).to_pylist(), sorted(rejected)

    assert outcomes(size) == outcomes(len(events) or 1)
