import pytest

from tidemill.schemas.errors import StateTooLarge
from tidemill.streams.memory import MemoryLog, MemoryReader
from tidemill.streams.metrics import Metrics
from tidemill.streams.state_watch import StateSize, StateWatch, WatchedReader, memory_limit

TOPIC = "p.changelog"


def test_it_looks_once_a_second_and_refuses_what_is_too_much():
    clock, sizes, metrics = iter([0.0, 0.0, 0.5, 1.5, 1.5]), {3: StateSize(7, 100)}, Metrics()
    watch = StateWatch(lambda: sizes, 2_000_000, metrics, clock.__next__)
    watch.start()
    watch.poll()
    assert metrics.registry.get_sample_value("tidemill_state_keys", {"partition": "3"}) == 7
    sizes = {4: StateSize(1_000_000, 1_500_000), 5: StateSize(1, 600_000)}
    watch.poll()
    with pytest.raises(StateTooLarge, match=r"2 partitions takes 2 MB for 1,000,001 keys, .* may hold 2 MB"):
        watch.poll()
    assert metrics.registry.get_sample_value("tidemill_state_bytes", {"partition": "4"}) == 1_500_000
    assert metrics.registry.get_sample_value("tidemill_state_bytes", {"partition": "3"}) is None


def test_a_state_that_is_too_large_is_noticed_while_it_is_restored():
    log, taken, metrics = MemoryLog({TOPIC: 1, "p.events": 1}), [], Metrics()
    for i in range(200):
        log.append(TOPIC, b"%d" % i, b"block", partition=0)
    watch = StateWatch(lambda: {0: StateSize(len(taken), len(taken) * 1_000)}, 90_000, metrics, lambda: 0.0)
    reader = WatchedReader(MemoryReader(log), MemoryReader(log), TOPIC, watch)
    with pytest.raises(StateTooLarge):
        taken.extend(record for record in reader.read(TOPIC, 0) if taken.append(record))
    assert len(taken) == 97
    share = metrics.registry.get_sample_value("tidemill_restored_ratio", {"partition": "0"})
    assert share == 96 / 200
    assert list(reader.read("p.events", 0)) == []


def test_memory_is_that_of_the_control_group_where_it_has_less(tmp_path):
    assert memory_limit(tmp_path) == 4 * 2**30
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    assert memory_limit(tmp_path) == 16_000_000 * 1024
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert memory_limit(tmp_path) == 16_000_000 * 1024
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("2000000000\n")
    assert memory_limit(tmp_path) == 2_000_000_000
