from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tidemill.processors.training.preparation import balance, clean, merge
from tidemill.schemas.errors import DeclarationError, ModelError

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")


def outcome(number, label="yes", minutes=1.0, revision=0, **more):
    at = START + timedelta(minutes=number)
    return {
        "event_id": f"e{number}",
        "event_time": at,
        "size": float(number),
        "feature_value": number * 2.0,
        "model_version": "m",
        "value": "no",
        "probability_no": 0.7,
        "label": label,
        "label_time": at + timedelta(minutes=minutes),
        "label_delay_ms": int(minutes * 60_000),
        "revision": revision,
        "source_partition": 0,
        "source_offset": number,
        **more,
    }


def table(rows):
    made = pa.Table.from_pylist(rows)
    kinds = [pa.field(f.name, TIME if f.name.endswith("_time") else f.type) for f in made.schema]
    return made.cast(pa.schema(kinds))


COLUMNS = {"size": "size", "feature_value": "feature_value"}


def test_the_last_revision_of_each_label_counts():
    rows = [outcome(1, "no"), outcome(2), outcome(1, "yes", 5, 1), outcome(1, "no", 3, 0), outcome(2)]
    made = merge(table(rows), COLUMNS).to_pylist()
    assert [(row["event_id"], row["label"], row["revision"]) for row in made] == [("e2", "yes", 0), ("e1", "yes", 1)]
    assert made[1]["known_time"] == made[1]["label_time"] == START + timedelta(minutes=6)
    assert made[0] == {
        "event_id": "e2",
        "event_time": START + timedelta(minutes=2),
        "label_time": START + timedelta(minutes=3),
        "known_time": START + timedelta(minutes=3),
        "size": 2.0,
        "feature_value": 4.0,
        "label": "yes",
        "revision": 0,
        "model_version": "m",
        "value": "no",
        "probability_no": 0.7,
        "source_partition": 0,
        "source_offset": 2,
    }


def test_labels_on_another_clock_are_known_by_their_delay():
    row = outcome(1) | {"label_time": START + timedelta(days=400), "label_delay_ms": 90_000}
    (made,) = merge(table([row]), COLUMNS).to_pylist()
    assert made["known_time"] == START + timedelta(minutes=2, seconds=30, milliseconds=1)


def test_features_that_outcomes_lack_are_found_by_their_place():
    features = pa.table({"source_partition": [0, 0], "source_offset": [2, 2], "items": [7, 7]})
    made = merge(table([outcome(1), outcome(2)]), COLUMNS, features, {"items": "items"})
    assert made["items"].to_pylist() == [None, 7]


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(DeclarationError, match=r"P\.outcomes has no column 'sise'; did you mean 'size'"):
        merge(table([outcome(1)]), {"sise": "sise"})
    with pytest.raises(DeclarationError, match="archive it too"):
        merge(table([outcome(1)]), {}, None, {"items": "items"})
    features = pa.table({"source_partition": [0], "source_offset": [2], "items": [7]})
    with pytest.raises(DeclarationError, match="did you mean 'items'"):
        merge(table([outcome(1)]), {}, features, {"item": "item"})


def test_cleaning_counts_what_it_takes_out():
    rows = pa.table(
        {
            "a": [1.0, None, float("nan"), 4.0, float("-inf"), 6.0],
            "b": ["x", None, "y", "z", None, None],
            "label": ["no", "yes", "yes", None, "yes", "odd"],
        }
    )
    kept = clean(rows, ["a", "b"], classes=["no", "yes"])
    assert kept.rows.to_pylist() == [{"a": 1.0, "b": "x", "label": "no"}, {"a": None, "b": "y", "label": "yes"}]
    assert kept.dropped == {"no_label": 1, "unknown_class": 1, "empty": 2}
    whole = clean(rows, ["a", "b"], classes=["no", "yes"], missing="drop")
    assert whole.rows["a"].to_pylist() == [1.0]
    assert whole.dropped["incomplete"] == 1


def test_cleaning_numbers():
    rows = pa.table({"a": [1, 2], "label": [float("nan"), 3.0]})
    made = clean(rows, ["a"])
    assert made.rows["label"].to_pylist() == [3.0]
    assert made.dropped == {"no_label": 1}
    assert clean(rows.slice(1), []).dropped == {}


def rows_of(labels):
    return pa.table({"label": labels, "source_partition": [0] * len(labels), "source_offset": list(range(len(labels)))})


def test_weights_give_each_class_the_same_sum():
    made = balance(rows_of(["a"] * 7 + ["b"] * 2 + ["c"]))
    weights = made["sample_weight"].to_pylist()
    assert [sum(weights[:7]), sum(weights[7:9]), weights[9]] == pytest.approx([10 / 3] * 3)
    again = balance(made)["sample_weight"].to_pylist()
    assert again[0] == pytest.approx(weights[0] ** 2)


def test_down_sampling_is_drawn_by_the_seed_and_not_by_the_order():
    rows = rows_of([n % 5 == 0 for n in range(100)])
    made = balance(rows, "down_sample", seed=4)
    assert made["label"].to_pylist().count(True) == made["label"].to_pylist().count(False) == 20
    turned = balance(rows.take(list(range(99, -1, -1))), "down_sample", seed=4)
    assert sorted(turned["source_offset"].to_pylist()) == made["source_offset"].to_pylist()
    assert balance(rows, "down_sample", seed=5) != made


def test_what_cannot_be_balanced():
    with pytest.raises(ModelError, match="clean them first"):
        balance(rows_of(["a", None]))
    with pytest.raises(DeclarationError, match="did you mean 'weights'"):
        balance(rows_of(["a"]), "weight")
    assert balance(rows_of(pa.array([], pa.string()))).num_rows == 0
