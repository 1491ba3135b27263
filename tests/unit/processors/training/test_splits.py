from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tidemill.processors.training.splits import split_by_time
from tidemill.schemas.errors import DeclarationError, ModelError

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")


def rows(*minutes):
    """Rows by the minutes of event and of knowledge."""
    events, known = (pa.array([START + timedelta(minutes=pair[i]) for pair in minutes], TIME) for i in (0, 1))
    places = {"source_partition": [0] * len(minutes), "source_offset": list(range(len(minutes)))}
    return pa.table({"event_time": events, "known_time": known, **places})


def test_what_was_not_known_in_time_is_in_neither():
    made = split_by_time(rows((0, 1), (1, 9), (2, 3), (3, 30), (8, 9), (9, 10)), validation=0.33)
    assert made.train["source_offset"].to_pylist() == [0, 2]
    assert made.validation["source_offset"].to_pylist() == [4, 5]
    assert (made.at, made.unknown) == (START + timedelta(minutes=8), 2)


def test_training_takes_its_time():
    given = rows((0, 1), (1, 4), (2, 6), (8, 9), (9, 9))
    at = START + timedelta(minutes=7)
    assert split_by_time(given, at=at).train.num_rows == 3
    assert split_by_time(given, at=at, delay="1m").train.num_rows == 2
    assert split_by_time(given, at=at, delay=timedelta(minutes=3)).train.num_rows == 1
    assert split_by_time(given, at=at).at == at


def test_events_of_one_time_stay_together():
    made = split_by_time(rows((0, 0), (5, 5), (5, 5), (5, 5)), validation=0.25)
    assert (made.train.num_rows, made.validation.num_rows) == (1, 3)


def test_nothing_may_be_left_on_one_side():
    made = split_by_time(rows((0, 0), (1, 1)), at=START + timedelta(hours=1))
    assert (made.train.num_rows, made.validation.num_rows, made.at) == (2, 0, START + timedelta(hours=1))


def test_what_cannot_be_split():
    with pytest.raises(ModelError, match="no labelled rows"):
        split_by_time(rows((0, 0)).slice(1))
    with pytest.raises(DeclarationError, match="between 0 and 1"):
        split_by_time(rows((0, 0)), validation=1.0)
    with pytest.raises(DeclarationError, match="with a zone"):
        split_by_time(rows((0, 0)), at=datetime(2024, 1, 1))  # noqa: DTZ001 - the point of it
