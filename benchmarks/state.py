"""`make bench-state`: what keyed state costs at ten thousand keys and at a thousand times as many.

No broker: stores and block logs are driven directly, and a whole task over a log in memory. Each row is measured in a
process of its own, so that memory is what this number of keys needs. Bare numbers do not travel between machines; the
ratios to the first row do, more or less.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment.window_store import WindowStore
from tidemill.processors.sanity_check.seen_ids import SeenIds
from tidemill.streams.changelog import BlockLog

KEYS = (10_000, 100_000, 1_000_000, 10_000_000)
MOST_FOR_TASK = 1_000_000
BATCH = 10_000
EVENTS = 400_000
DOCS = Path(__file__).parents[1] / "docs" / "reference" / "state.md"
_MACHINE = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=KEYS[-1], help="leave out the rows with more keys")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "KEYS"), help=argparse.SUPPRESS)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the table to write")
    options = parser.parse_args()
    if options.one:
        what, keys = options.one
        print(json.dumps({"windows": windows, "ids": ids}[what](int(keys))))
        return
    found: dict[str, Any] = {"load_before": os.getloadavg(), "rows": []}
    for what in ("windows", "ids", "task"):
        for keys in KEYS:
            if keys <= options.most and (what != "task" or keys <= MOST_FOR_TASK):
                row = {"what": what, "keys": keys} | _in_a_process(what, keys)
                found["rows"].append(row)
                print(json.dumps(row), flush=True)


def _in_a_process(what: str, keys: int) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, __file__, "--one", what, str(keys)], stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def windows(count: int) -> dict[str, float]:
    """A window's store under a block log: count, sum and mean of one field."""
    window = fe.window("card", over="1h", n=fe.count(), spent=fe.sum("amount"), usual=fe.mean("amount"))

    def update(store: WindowStore, names: pa.Array, start: int) -> None:
        times = start * 1_000 + np.arange(len(names))
        store.update(names, times, {"amount": pa.array(np.ones(len(names)))})

    return _measure(lambda: WindowStore(window), update, count)


def ids(count: int) -> dict[str, float]:
    """The ids that `unique` remembers: every event brings a new one, and one as old as the span goes."""

    def check(store: SeenIds, names: pa.Array, start: int) -> None:
        store.check(names, start * 1_000 + np.arange(len(names)))

    return _measure(lambda: SeenIds(3_600_000_000), check, count)


def _measure(make: Any, update: Any, count: int) -> dict[str, float]:
    chance = np.random.default_rng(1)
    warm = make()
    update(warm, _names(np.arange(10)), 0)
    warm.apply(warm.rows(warm.changed()))
    before = _memory()
    store = make()
    log, blocks = BlockLog(store), {}

    def commit() -> int:
        written = 0
        for number, block in log.advance():
            written += len(block or b"")
            if block is None:
                blocks.pop(number, None)
            else:
                blocks[number] = block
        return written

    held = 0
    for first in range(0, count, BATCH):
        update(store, _names(np.arange(first, min(first + BATCH, count))), first)
        held += commit()
    per_key = (_memory() - before - sum(map(len, blocks.values()))) / count
    picks = [_names(chance.integers(0, count, BATCH)) for _ in range(EVENTS // BATCH)]
    written, start = 0, time.process_time()
    for i, pick in enumerate(picks):
        update(store, pick, count + i * BATCH)
        written += commit()
    spent = time.process_time() - start
    again = make()
    log = BlockLog(again)
    start = time.process_time()
    for number, block in blocks.items():
        log.restore(number, block)
    restored = len(again) / (time.process_time() - start)
    return {
        "bytes_per_key": per_key,
        "us_per_event": spent / EVENTS * 1e6,
        "changelog_bytes_per_event": written / EVENTS,
        "restored_per_second": restored,
    }


def _names(which: Any) -> pa.Array:
    return pa.array([f"c{i:08d}" for i in which.tolist()])


def _memory() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
