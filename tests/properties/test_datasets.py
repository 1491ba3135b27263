"""Data sets against naive oracles: nothing is learnt that was not known, the last label counts, order shows nowhere."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tidemill.processors.training.dataset import Recipe, build
from tidemill.processors.training.ipc import to_bytes
from tidemill.processors.training.preparation import merge
from tidemill.processors.training.selection import decayed, last_rows, since, stratified
from tidemill.processors.training.splits import split_by_time

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("size", pa.float64()),
        ("value", pa.string()),
        ("label", pa.string()),
        ("label_time", pa.timestamp("us", "UTC")),
        ("label_delay_ms", pa.int64()),
        ("revision", pa.int64()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
    ]
)
COLUMNS = {"size": "size"}
events = st.lists(
    st.tuples(
        st.integers(0, 50),  # minute of the event
        st.lists(st.tuples(st.integers(-3, 40), st.sampled_from("abc")), max_size=3),  # delays and labels
        st.none() | st.integers(0, 3),
    ),
    min_size=1,
    max_size=25,
)


def outcomes(drawn, shift=0):
    """P.outcomes in the order in which labels came; with a `shift` their times are on another clock, in days."""
    rows = []
    for number, (minute, labels, size) in enumerate(drawn):
        at = START + timedelta(minutes=minute)
        for revision, (delay, label) in enumerate(sorted(labels)):
            known = at + timedelta(minutes=delay)
            rows.append(
                {
                    "event_id": f"e{number}",
                    "event_time": at,
                    "size": size,
                    "value": "a",
                    "label": label,
                    "label_time": known + timedelta(days=shift),
                    "label_delay_ms": delay * 60_000,
                    "revision": revision,
                    "source_partition": number % 2,
                    "source_offset": number // 2,
                }
            )
    rows.sort(key=lambda row: (row["label_time"], row["revision"]))
    return pa.Table.from_pylist(rows, SCHEMA)


@given(events, st.sampled_from([0, 30]), st.floats(0.05, 0.95), st.integers(0, 10))
def test_no_label_is_learnt_from_before_it_was_known(drawn, shift, share, delay):
    rows = merge(outcomes(drawn, shift), COLUMNS)
    if not rows.num_rows:
        return
    made = split_by_time(rows, validation=share, delay=timedelta(minutes=delay))
    train, validation = made.train.to_pylist(), made.validation.to_pylist()
    first = min(row["event_time"] for row in validation)
    assert first == made.at
    for row in train:
        minute, labels, _ = drawn[int(row["event_id"][1:])]
        known = START + timedelta(minutes=minute + max(each for each, _ in labels))
        assert row["event_time"] < first
        assert known < first - timedelta(minutes=delay)
    assert len(train) + len(validation) + made.unknown == rows.num_rows
    assert len(validation) >= share * rows.num_rows - 1
    older = [row for row in rows.to_pylist() if row["event_time"] < first]
    late = [row for row in older if row["known_time"] >= first - timedelta(minutes=delay)]
    assert len(late) == made.unknown


@given(events, st.sampled_from([0, 30]))
def test_each_event_has_its_last_label(drawn, shift):
    found = {row["event_id"]: row["label"] for row in merge(outcomes(drawn, shift), COLUMNS).to_pylist()}
    wanted = {f"e{number}": sorted(labels)[-1][1] for number, (_, labels, _) in enumerate(drawn) if labels}
    assert found == wanted


@given(
    events,
    st.integers(1, 9),
    st.sampled_from([last_rows(7), since(START + timedelta(minutes=20)), decayed("9m"), stratified("label", 5, 3)]),
    st.sampled_from([None, "weights", "down_sample"]),
)
def test_a_data_set_does_not_show_how_the_log_was_cut(drawn, size, selection, balance):
    table = outcomes(drawn)
    # An event's revisions differ in their number; equal rows may be there twice, as at least once writes them.
    pieces = pa.concat_tables([table.slice(at, size) for at in range(0, table.num_rows, size)] + [table.slice(0, size)])
    recipe = Recipe(COLUMNS, selection=[selection], balance=balance, seed=5)
    try:
        made = build(table, None, recipe, {"tables": {}})
    except Exception as error:  # noqa: BLE001 - then the other fails in the same way
        made = type(error)
    try:
        again = build(pieces, None, Recipe.of(recipe.describe()), {"tables": {}})
    except Exception as error:  # noqa: BLE001
        again = type(error)
    if isinstance(made, type):
        assert again is made
    else:
        assert again.to_bytes() == made.to_bytes() == to_bytes(made.rows)
        assert again.id == made.id
