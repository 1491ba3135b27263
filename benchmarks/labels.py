"""`make bench-labels`: what it costs that predictions wait for their labels, by how many of them wait.

No broker: the stage of the flights example is driven as its task drives it, with predictions of its features and then
their labels in random order, and every batch is committed to a changelog, which lies in a file. Each size is measured
in a process of its own. Bare numbers do not travel between machines; the ratios to the first row do, more or less.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import job
import labels_data
import numpy as np
import pyarrow as pa
import state

from tidemill.examples.flights.pipeline import pipeline
from tidemill.processors.outcomes import Outcomes
from tidemill.processors.outcomes.join import Joined
from tidemill.streams.changelog import BlockLog

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
BATCH = 2_000
# So many rows are measured at least: few of them take several rounds.
LEAST = 200_000
DOCS = Path(__file__).parents[1] / "docs" / "reference" / "labels.md"
NO_ROWS = np.zeros(0, np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many predictions wait")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the page whose table is replaced")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    found: dict[str, Any] = {"machine": state.machine(), "load_before": os.getloadavg()}
    found["rows"] = [{"waiting": size} | state.in_a_process(__file__, size) for size in options.sizes]
    found["load_after"] = os.getloadavg()
    job.HOME.mkdir(parents=True, exist_ok=True)
    (job.HOME / "labels.json").write_text(json.dumps(found, indent=2) + "\n")
    table = _table(found)
    print(json.dumps(found, indent=2) if options.json else "\n".join(table))
    state.into_page(options.docs, table)


def _table(found: dict[str, Any]) -> list[str]:
    first = found["rows"][0]
    lines = [
        f"{found['machine']}; load {found['load_before'][0]:.1f} before and {found['load_after'][0]:.1f} after.",
        "",
        "| waiting | memory, MB | at most, MB | a prediction, bytes | CPU a prediction, µs | over the first row"
        " | CPU a label, µs | over the first row | changelog a prediction, bytes | restored predictions/s |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        cost, label = row["us_per_prediction"], row["us_per_label"]
        lines.append(
            f"| {row['waiting']:,} | {row['bytes'] / 1e6:,.0f} | {row['peak_bytes'] / 1e6:,.0f}"
            f" | {row['bytes'] / row['waiting']:,.0f}"
            f" | {cost:.2f} | {cost / first['us_per_prediction']:.2f}"
            f" | {label:.2f} | {label / first['us_per_label']:.2f}"
            f" | {row['changelog_bytes_per_prediction']:.0f} | {row['restored_per_second']:,.0f} |"
        )
    return lines


class Changelog:
    """The stage's stores with their block logs, and a file in place of the topic."""

    def __init__(self, stage: Outcomes, file: IO[bytes]) -> None:
        self.logs = {name: BlockLog(store) for name, store in stage.stores(0).items()}
        self._file = file
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        self.written = 0

    def commit(self) -> float:
        """Write what has changed; returns the CPU time that it took to make it."""
        start = time.process_time()
        made = [(name, *block) for name, log in self.logs.items() for block in log.advance()]
        spent = time.process_time() - start
        for name, number, block in made:
            if block is None:
                del self._places[name, number]
            else:
                self._places[name, number] = self._file.tell(), len(block)
                self._file.write(block)
                self.written += len(block)
        return spent

    def blocks(self) -> Iterator[tuple[str, int, bytes]]:
        """Those that count, as a compacted topic has them."""
        for (name, number), (start, size) in self._places.items():
            self._file.seek(start)
            yield name, number, self._file.read(size)


class Waiting:
    """The stage with predictions that wait, numbered from 0 on."""

    def __init__(self, file: IO[bytes]) -> None:
        self.stage = PLAN.make_outcomes()
        self.changelog = Changelog(self.stage, file)
        self._turn = 0

    def predict(self, first: int, count: int) -> float:
        """Take in predictions; returns the CPU time of it."""
        rows = labels_data.predictions(self.stage.scored, first, count)
        return self._take(rows, NO_LABELS, int(rows["event_time"].to_numpy().max()))[1]

    def label(self, numbers: Any) -> float:
        """Take in labels of these predictions, and make outcomes of them."""
        rows = labels_data.labels(NO_LABELS.schema, numbers)
        joined, spent = self._take(self.stage.scored.empty_table(), rows, self.stage.of(0).clock)
        start = time.process_time()
        made = self.stage.outcomes(joined)
        spent += time.process_time() - start
        if len(made) != len(numbers):
            raise SystemExit(f"expected {len(numbers)} outcomes, got {len(made)}")
        return spent

    def _take(self, predictions: pa.Table, labels: pa.Table, clock: int) -> tuple[Joined, float]:
        self._turn += 1
        places = [np.full(len(rows), self._turn) for rows in (predictions, labels)]
        start = time.process_time()
        joined = self.stage.of(0).take(predictions, places[0], labels, places[1], clock)
        spent = time.process_time() - start
        return joined, spent + self.changelog.commit()


def measure(size: int) -> dict[str, Any]:
    with tempfile.TemporaryFile() as file:
        warm = Waiting(file)
        warm.predict(0, BATCH)
        warm.label(np.arange(BATCH))
        _restored(warm)
    del warm
    found: dict[str, Any] = {}
    predicted: list[float] = []
    labelled: list[float] = []
    for _ in range(max(LEAST // size, 1)):
        with tempfile.TemporaryFile() as file:
            once = _round(file, size)
        predicted += once.pop("predicted")
        labelled += once.pop("labelled")
        found = found or once
    # The middle batch: what else the machine does hits some of them. All together, growth is paid for as well.
    found["us_per_prediction"] = statistics.median(predicted[-LEAST // BATCH :]) / BATCH * 1e6
    found["us_per_prediction_of_all"] = sum(predicted) / len(predicted) / BATCH * 1e6
    found["us_per_label"] = statistics.median(labelled) / BATCH * 1e6
    return found


def _round(file: IO[bytes], size: int) -> dict[str, Any]:
    Path("/proc/self/clear_refs").write_text("5")
    before = state.memory()
    waiting = Waiting(file)
    predicted = [waiting.predict(first, BATCH) for first in range(0, size, BATCH)]
    join, logs = waiting.stage.of(0), waiting.changelog.logs
    found: dict[str, Any] = {
        "bytes": state.memory() - before,
        "peak_bytes": _peak() - before,
        "reserved": {
            "ids": join._ids.nbytes,
            "predictions": join.predictions.nbytes - join._ids.nbytes,
            "all": sum(log.nbytes for log in logs.values()),
        },
        "changelog_bytes_per_prediction": waiting.changelog.written / size,
    }
    order = np.random.default_rng(1).permutation(size)[:LEAST]
    labelled = [waiting.label(order[first : first + BATCH]) for first in range(0, len(order), BATCH)]
    return found | {"restored_per_second": _restored(waiting), "predicted": predicted, "labelled": labelled}


def _restored(waiting: Waiting) -> float:
    """Predictions a second, with the labels that there are; what was there is dropped."""
    clock, size = waiting.stage.clock(0), len(waiting.stage.of(0).predictions)
    blocks = waiting.changelog.blocks()
    waiting.stage.drop(0)
    logs = {name: BlockLog(store) for name, store in waiting.stage.stores(0).items()}
    waiting.changelog.logs = logs
    start = time.process_time()
    for name, number, block in blocks:
        logs[name].restore(number, block)
    waiting.stage.restore_clock(0, clock)
    spent = time.process_time() - start
    if len(waiting.stage.of(0).predictions) != size:
        raise SystemExit(f"expected {size} predictions back, got {len(waiting.stage.of(0).predictions)}")
    return size / spent


def _peak() -> int:
    """The most resident memory since it was last cleared, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


PLAN = pipeline.plan()
NO_LABELS = labels_data.label_columns(PLAN.target.value_type()).empty_table()

if __name__ == "__main__":
    main()
