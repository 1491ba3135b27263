import polars as pl

from tidemill.processors.feature_enrichment.isolation import isolate


def number(frame):
    return frame.select(pl.col("text").cast(pl.Int64).alias("number"))


def test_only_the_rows_that_raise_are_left_out(frame):
    computed, failed = isolate(number, frame)
    assert computed["number"].to_list() == [1, 2, 4, 6]
    assert list(failed) == [2, 4]


def test_the_message_does_not_depend_on_the_neighbours(frame):
    _, together = isolate(number, frame)
    _, alone = isolate(number, frame[2:3])
    assert together[2] == alone[0]
    assert '"x"' in alone[0]


def test_rows_that_are_all_good_are_computed_at_once(frame):
    calls = []

    def compute(rows):
        calls.append(rows.height)
        return rows

    assert isolate(compute, frame)[0].equals(frame)
    assert calls == [6]


def test_nothing_left_still_has_its_columns(frame):
    computed, failed = isolate(number, frame.filter(pl.col("text") == "x"))
    assert computed.schema == {"number": pl.Int64}
    assert computed.height == 0
    assert list(failed) == [0]
    assert isolate(number, frame.clear())[1] == {}
