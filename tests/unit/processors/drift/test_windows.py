from dataclasses import dataclass

from tidemill.processors.drift.windows import MOST_SLICES, Delta, WindowKey, Windows

DAY = 86_400_000


@dataclass(frozen=True)
class Rows:
    count: int

    def merge(self, other):
        return Rows(self.count + other.count)


def delta(offset, value, day=0, reached=0):
    key = WindowKey(day * DAY, (day + 1) * DAY, "features", value and f"shop={value}", "")
    return Delta(key, (0, offset), 0, 0, {0: reached}, Rows(1))


def test_a_field_of_many_values_does_not_fill_the_memory():
    windows = Windows(1, {}, None)
    for offset in range(1_000):
        windows.add(delta(offset, f"s{offset}"))
    assert windows.add(delta(1_000, "s1"))
    assert windows.add(delta(1_001, ""))
    assert windows.add(delta(1_002, "s1", day=1))
    assert len(windows.pending) == MOST_SLICES + 2
    assert windows.late == 1_000 - MOST_SLICES


def test_what_is_full_is_full_after_a_restart():
    one, other = Windows(1, {}, None), Windows(1, {}, None)
    for offset in range(MOST_SLICES):
        one.add(delta(offset, f"s{offset}"))
    other.restore(one.progress(), one.pending)
    assert not other.add(delta(MOST_SLICES, "more"))
    assert other.add(delta(MOST_SLICES + 1, "s0"))


def test_a_window_that_is_closed_makes_room():
    windows = Windows(1, {}, None)
    for offset in range(MOST_SLICES):
        windows.add(delta(offset, f"s{offset}"))
    windows.add(delta(MOST_SLICES, "", day=1, reached=2 * DAY))
    closed = [len(profiles) for _, _, profiles in windows.due()]
    assert closed == [MOST_SLICES, 1]
    assert windows.pending == {}
