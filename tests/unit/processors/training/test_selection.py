from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tidemill.processors.training.selection import decayed, last_rows, selection_of, since, stratified
from tidemill.schemas.errors import DeclarationError

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")


def rows(count, label=lambda n: n % 3):
    events = pa.array([START + timedelta(hours=n) for n in range(count)], TIME)
    labels = pa.array([START + timedelta(hours=n + 5) for n in range(count)], TIME)
    return pa.table(
        {
            "event_time": events,
            "label_time": labels,
            "label": [label(n) for n in range(count)],
            "shop": [f"s{n % 2}" for n in range(count)],
            "source_partition": [0] * count,
            "source_offset": list(range(count)),
        }
    )


def test_the_last_rows():
    assert last_rows(3).choose(rows(9))["source_offset"].to_pylist() == [6, 7, 8]
    assert last_rows(30).choose(rows(9)).num_rows == 9


def test_since_a_change():
    assert since(START + timedelta(hours=4)).choose(rows(9))["source_offset"].to_pylist() == [4, 5, 6, 7, 8]
    assert since("2024-01-01T04:00:00", by="label_time").choose(rows(9)).num_rows == 9


def test_decay_by_time_and_by_rows():
    by_time = decayed("2h").choose(rows(5))["sample_weight"].to_pylist()
    assert by_time == pytest.approx([0.25, 2**-1.5, 0.5, 2**-0.5, 1.0])
    assert decayed(2).choose(rows(5))["sample_weight"].to_pylist() == pytest.approx(by_time)
    twice = decayed(2).choose(decayed(2).choose(rows(3)))
    assert twice["sample_weight"].to_pylist() == pytest.approx([0.25, 0.5, 1.0])
    assert decayed(2).choose(rows(0)).num_rows == 0


def test_strata_keep_their_shares():
    made = stratified("label", 30, seed=1).choose(rows(300, lambda n: "rare" if n % 100 == 0 else n % 2 * "x" + "y"))
    labels = made["label"].to_pylist()
    assert {label: labels.count(label) for label in set(labels)} == {"rare": 1, "xy": 15, "y": 14}
    assert made["source_offset"].to_pylist() == sorted(made["source_offset"].to_pylist())
    assert stratified("label", 30, seed=2).choose(rows(300)) != stratified("label", 30, seed=1).choose(rows(300))


def test_strata_of_several_columns_and_more_rows_than_there_are():
    made = stratified(["label", "shop"], 60).choose(rows(600))
    assert sorted(made.group_by(["label", "shop"]).aggregate([([], "count_all")])["count_all"].to_pylist()) == [10] * 6
    assert stratified("label", 60).choose(rows(6)).num_rows == 6
    assert stratified("label", 2).choose(rows(30)).num_rows == 2


@pytest.mark.parametrize(
    "selection", [last_rows(5), since(START, by="label_time"), decayed("30d"), decayed(7), stratified(["a", "b"], 9, 2)]
)
def test_a_selection_comes_back_from_json(selection):
    assert selection_of(selection.describe()) == selection


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: last_rows(0), "at least 1; got 0"),
        (lambda: last_rows(True), "got True"),
        (lambda: since("soon"), "expected a time such as"),
        (lambda: since(START, by="lable_time"), "did you mean 'label_time'"),
        (lambda: decayed("0s"), "longer than 0"),
        (lambda: decayed("soon"), "expected a duration"),
        (lambda: stratified([], 3), "one column or more"),
        (lambda: stratified("lable", 1).choose(rows(3)), "did you mean 'label'"),
        (lambda: selection_of({"kind": "last_row"}), "did you mean 'last_rows'"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(DeclarationError, match=message):
        make()
