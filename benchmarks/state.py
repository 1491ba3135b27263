"""`make bench-state`: what keyed state costs at ten thousand keys and at a thousand times as many.

No broker: stores and block logs are driven directly, and a whole task over a log in memory. Each row is measured in a
process of its own, so that memory is what this number of keys needs. Bare numbers do not travel between machines; the
ratios to the first row do, more or less.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import job
import numpy as np
import psutil
import pyarrow as pa

import tidemill as tm
from tidemill.outgoing import Outgoing
from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment.window_store import WindowStore
from tidemill.processors.sanity_check.seen_ids import SeenIds
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.changelog import BlockLog
from tidemill.streams.memory import MemoryLog, MemoryReader, columns
from tidemill.streams.plan import STAGES
from tidemill.streams.ports import LogRecord
from tidemill.streams.task import Task

KEYS = (10_000, 100_000, 1_000_000, 10_000_000)
MOST_FOR_TASK = 1_000_000
FILL = 10_000
# Small beside the least number of keys: a batch then changes about as many keys everywhere.
BATCH = 2_000
EVENTS = 200_000
DOCS = Path(__file__).parents[1] / "docs" / "reference" / "state.md"
BEGIN, END = "<!-- measured -->", "<!-- end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=KEYS[-1], help="leave out the rows with more keys")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "KEYS"), help=argparse.SUPPRESS)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the page whose table is replaced")
    options = parser.parse_args()
    if options.one:
        what, keys = options.one
        print(json.dumps(MEASURED[what](int(keys))))
        return
    found: dict[str, Any] = {"machine": machine(), "load_before": os.getloadavg(), "rows": []}
    for what in MEASURED:
        for keys in KEYS:
            if keys <= options.most and (what != "task" or keys <= MOST_FOR_TASK):
                row = {"what": what, "keys": keys} | in_a_process(__file__, what, keys)
                found["rows"].append(row)
                print(json.dumps(row), flush=True)
    found["load_after"] = os.getloadavg()
    job.HOME.mkdir(parents=True, exist_ok=True)
    (job.HOME / "state.json").write_text(json.dumps(found, indent=2) + "\n")
    table = _table(found)
    print("\n".join(table))
    into_page(options.docs, table)


def into_page(page: Path, table: list[str]) -> None:
    """Replace what stands between the page's marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text("\n".join([before + BEGIN, *table, END + rest.partition(END)[2]]))


def in_a_process(script: str, *arguments: object) -> dict[str, Any]:
    """What `script --one arguments` prints."""
    command = [sys.executable, script, "--one", *map(str, arguments)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def _table(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{found['machine']}; load {found['load_before'][0]:.1f} before and {found['load_after'][0]:.1f} after.",
        "",
        "| state | keys | memory a key, bytes | CPU an event, µs | over the first row | changelog an event, bytes"
        " | restored keys/s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = {}
    for row in found["rows"]:
        least = base.setdefault(row["what"], row["us_per_event"])
        memory = f"{row['bytes_per_key']:,.0f}" if row["bytes_per_key"] is not None else ""
        lines.append(
            f"| {row['what']} | {row['keys']:,} | {memory} | {row['us_per_event']:.2f}"
            f" | {row['us_per_event'] / least:.2f} | {row['changelog_bytes_per_event']:.0f}"
            f" | {row['restored_per_second']:,.0f} |"
        )
    return lines


def windows(count: int) -> dict[str, Any]:
    """A window's store under a block log: count, sum and mean of one field."""
    window = fe.window("card", over="1000h", n=fe.count(), spent=fe.sum("amount"), usual=fe.mean("amount"))

    def update(store: WindowStore, names: pa.Array, start: int) -> None:
        times = start * 1_000 + np.arange(len(names))
        store.update(names, times, {"amount": pa.array(np.ones(len(names)))})

    return _measure(lambda: WindowStore(window), update, count)


def ids(count: int) -> dict[str, Any]:
    """The ids that `unique` remembers; half of the events measured bring a new one."""

    def check(store: SeenIds, names: pa.Array, start: int) -> None:
        store.check(names, start * 1_000 + np.arange(len(names)))

    return _measure(lambda: SeenIds(3_600_000_000_000), check, count, new=True)


def _measure(make: Any, update: Any, count: int, *, new: bool = False) -> dict[str, Any]:
    warm = make()
    # As large as a batch, so that what is reserved once for all is not counted to the keys.
    update(warm, _names(np.arange(FILL)), 0)
    warm.apply(warm.rows(warm.changed()))
    before = memory()
    store, blocks = make(), {}
    log = BlockLog(store)

    def commit() -> int:
        written = list(log.advance())
        for number, block in written:
            blocks[number] = block
            if block is None:
                del blocks[number]
        return sum(len(block or b"") for _, block in written)

    for first in range(0, count, FILL):
        update(store, _names(np.arange(first, first + FILL)), first)
        commit()
    per_key = (memory() - before - sum(map(len, blocks.values()))) / count
    chance, spent, written = np.random.default_rng(1), [], 0
    for i in range(EVENTS // BATCH):
        pick = chance.integers(0, count, BATCH)
        names = _names(np.where(np.arange(BATCH) % 2 * new, count + i * BATCH + np.arange(BATCH), pick))
        start = time.process_time()
        update(store, names, count + i * BATCH)
        written += commit()
        spent.append(time.process_time() - start)
    again = make()
    log, start = BlockLog(again), time.process_time()
    for number, block in blocks.items():
        log.restore(number, block)
    restored = len(again) / (time.process_time() - start)
    return _found(per_key, spent, written, restored)


def task(count: int) -> dict[str, Any]:
    """The whole job of the other benchmarks but for its commits, over a log in memory; the ids of all are remembered.

    Times lie a millisecond apart, so that no key expires.
    """
    plan = job.declare("state", partitions=1, checks=[tm.unique("30d")]).plan()
    log = MemoryLog({spec.name: spec.partitions or 1 for spec in plan.topics()})
    known = KnownSchemas(list(plan.contracts.values()))
    outgoing = Outgoing(plan.contracts["events"], known)
    events, changelog = plan.topic("events"), plan.topic("changelog")

    def made() -> Task:
        found = Task(plan, STAGES, known, MemoryReader(log), lambda _: None)
        found.assigned(0)
        return found

    def run(cards: Any, first: int) -> tuple[float, int]:
        table = job.payments(first, len(cards), even=True)
        table = table.set_column(1, "card", _names(cards))
        times = pa.array(1_767_225_600_000_000 + (first + np.arange(len(cards))) * 1_000, pa.timestamp("us", "UTC"))
        messages = list(outgoing.messages(table.set_column(2, "paid_at", times)))
        records = columns([LogRecord(0, first + i, 1_767_225_600_000, k, v, []) for i, (k, v) in enumerate(messages)])
        start = time.process_time()
        prepared = worker.prepare(records)
        spent = time.process_time() - start
        for entry in prepared.changelog:
            log.append(changelog, entry.key, entry.value, partition=0)
        log.committed["", events, 0] = first + len(cards)
        worker.committed(prepared)
        return spent, sum(len(entry.value or b"") for entry in prepared.changelog)

    worker = made()
    run(np.arange(FILL), 0)
    before, chance = memory(), np.random.default_rng(1)
    for first in range(FILL, count, FILL):
        run(np.arange(first, first + FILL), first)
    log.compact(changelog)
    held = sum(len(r.value) for r in log.read(changelog, 0) if r.value)
    per_key = (memory() - before - held) / (count - FILL) if count > FILL else None
    runs = [run(chance.integers(0, count, BATCH), count + i * BATCH) for i in range(EVENTS // BATCH)]
    log.compact(changelog)
    start = time.process_time()
    made()
    restored = count / (time.process_time() - start)
    return _found(per_key, [spent for spent, _ in runs], sum(written for _, written in runs), restored)


def _found(per_key: float | None, spent: list[float], written: int, restored: float) -> dict[str, Any]:
    return {
        "bytes_per_key": per_key,
        # The middle batch: what else the machine does hits some of them.
        "us_per_event": statistics.median(spent) / BATCH * 1e6,
        "changelog_bytes_per_event": written / EVENTS,
        "restored_per_second": restored,
    }


def _names(which: Any) -> pa.Array:
    return pa.array([f"c{i:08d}" for i in which.tolist()])


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line for line in lines if line.startswith("model name")), ":")
    gigabytes = psutil.virtual_memory().total / 2**30
    return f"{model.partition(':')[2].strip() or platform.machine()}, {os.cpu_count()} cores, {gigabytes:.0f} GB"


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


MEASURED = {"windows": windows, "ids": ids, "task": task}

if __name__ == "__main__":
    main()
