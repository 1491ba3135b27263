import pytest

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.memory import MemoryLog, MemoryReader
from tidemill.streams.rejected_log import Kind, Place, Selection, parse_place, partitions_of, read_rejections, tally
from tidemill.streams.rejections import RejectedRow


@pytest.fixture
def topics():
    """Three thousand rejections on one partition, a few on the other."""
    log = MemoryLog({"tides.rejected": 2, "tides.retries": 2})

    def reject(partition, offset, reason, stage="sanity_check", topic="tides.events"):
        row = RejectedRow(stage, reason, f"because of {offset}", topic, partition, offset, offset * 10, b"k", b"v")
        log.append("tides.rejected", b"k", b"v", headers=row.headers(), partition=partition, timestamp=row.timestamp)

    for offset in range(3_000):
        reject(0, 2 * offset, "undecodable" if offset % 3 else "out_of_range")
    reject(1, 5, "model_raised", "online_inference")
    reject(1, 6, "out_of_range")
    reject(1, 6, "misplaced", topic="tides.features")
    return log


def found(topics, **selection):
    reader, chosen = MemoryReader(topics), Selection(**selection)
    return [
        (r.partition, r.offset, r.reason)
        for partition in partitions_of(reader, "tides", chosen)
        for r in read_rejections(reader, "tides", partition, chosen)
    ]


def test_rejections_are_counted_by_stage_and_reason(topics):
    looked = []
    kinds = tally(
        MemoryReader(topics), "tides", Selection(), lambda p: frozenset({0, 6} if p == 0 else {6}), looked.append
    )
    assert kinds == [
        Kind("sanity_check", "undecodable", 2_000, 0, 20, 59_980, "because of 5998", "tides.rejected[0]@2999"),
        Kind("sanity_check", "out_of_range", 1_001, 3, 0, 59_940, "because of 6", "tides.rejected[1]@1"),
        Kind("online_inference", "model_raised", 1, 0, 50, 50, "because of 5", "tides.rejected[1]@0"),
        Kind("sanity_check", "misplaced", 1, 0, 60, 60, "because of 6", "tides.rejected[1]@2"),
    ]
    assert sum(looked) == 3_003


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"stages": frozenset({"online_inference"})}, [(1, 5, "model_raised")]),
        ({"reasons": frozenset({"model_raised", "misplaced"})}, [(1, 5, "model_raised"), (1, 6, "misplaced")]),
        ({"since": 59_980}, [(0, 5998, "undecodable")]),
        ({"places": frozenset({Place("tides.rejected", 0, 7)})}, [(0, 14, "undecodable")]),
        ({"places": frozenset({Place("tides.events", 1, 6)})}, [(1, 6, "out_of_range")]),
        ({"places": frozenset({Place("tides.rejected", 1, 1), Place("tides.events", 0, 0)})},
         [(0, 0, "out_of_range"), (1, 6, "out_of_range")]),
        ({"places": frozenset({Place("tides.rejected", 1, 99)})}, []),
        ({"places": frozenset({Place("tides.rejected", 7, 1)})}, []),
        ({"reasons": frozenset({"out_of_range"}), "since": 59_990}, []),
    ],
)  # fmt: skip
def test_a_selection_has_what_fits_all_that_it_names(topics, selection, expected):
    assert found(topics, **selection) == expected


def test_the_place_of_a_rejection_is_gone_to_at_once(topics):
    looked = []
    chosen = Selection(places=frozenset({Place("tides.rejected", 0, 2_990)}))
    assert [r.offset for r in read_rejections(MemoryReader(topics), "tides", 0, chosen, looked.append)] == [5_980]
    assert sum(looked) == 1


@pytest.mark.parametrize("text", ["", "17", "a@b", "tides.features[0]@1", "tides.rejected[0]", "-1@2", "1@2@3", "²@1"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(DeclarationError, match=r"such as 2@17 or tides\.rejected\[2\]@17"):
        parse_place(text, "tides")
