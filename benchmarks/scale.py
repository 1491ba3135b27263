"""`make bench-scale`: cost per event and latency as one thing grows at a time, as a table and a plot in docs/.

The base is one worker, four partitions, ten thousand keys, ten features; every other row differs from it in one
number. Bare times do not travel between machines, so each cost is also given over the base's of the same run.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cluster
import job
import latency
import matplotlib as mpl
import matplotlib.pyplot as plt
from children import workers

from tidemill.streams.kafka.connection import Connection

BASE = {"partitions": 4, "workers": 1, "keys": 10_000, "features": 10}
VALUES = {
    "partitions": (1, 2, 4, 8, 16),
    "workers": (1, 2, 3, 4),
    "keys": (100, 1_000, 10_000, 100_000, 1_000_000),
    "features": (5, 10, 50, 100, 200),
}
DOCS = Path(__file__).parents[1] / "docs"
PACED = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events per point")
    parser.add_argument("--latency-seconds", type=float, default=5.0, help="per point, after the warm-up")
    parser.add_argument("--only", choices=tuple(VALUES), action="append", help="grow this alone; may be repeated")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder for reference/scale.md and images/scale.svg")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    points: list[dict[str, Any]] = []
    with cluster.broker() as connection:
        measure(connection, BASE, options, "warm-up")
        for axis in options.only or VALUES:
            for value in VALUES[axis]:
                found = measure(connection, BASE | {axis: value}, options, f"{axis}-{value}")
                points.append({"axis": axis, "value": value} | found)
                print(f"{time.strftime('%H:%M:%S')} {axis} {value:,}: {json.dumps(found)}", flush=True)
    (job.HOME / "scale.json").write_text(json.dumps({"base": BASE, "points": points}, indent=2) + "\n")
    write_table(points, options.docs / "reference" / "scale.md")
    plot(points, options.docs / "images" / "scale.svg")


def measure(connection: Connection, shape: dict[str, int], options: Any, name: str) -> dict[str, float]:
    """CPU microseconds of all workers per event, events per second, and latency at a thousand events a second."""
    declared = {
        "name": f"scale-{name}",
        "publish": ("validated", "features", "predictions"),
        "partitions": shape["partitions"],
        "count": shape["features"],
    }
    pipeline = job.declare(**declared)
    cluster.prepare(connection, pipeline)
    # Every key at least once before the clock starts: what is measured is the state's size, not its growth.
    events = max(options.events, shape["keys"])
    cluster.load(connection, pipeline, events, shape["keys"], even=True)
    with workers(connection, declared, count=shape["workers"]) as group:
        group.go()
        done = group.done(events)
        waits = latency.paced(connection, declared, PACED, options.latency_seconds, shape["keys"])
    cluster.drop(connection, pipeline.name)
    return {
        "cpu_us": done["cpu"] / done["events"] * 1e6,
        "rate": done["events"] / done["seconds"],
        "p50_ms": waits["p50"],
        "p99_ms": waits["p99"],
    }


def write_table(points: list[dict[str, Any]], path: Path) -> None:
    """One line per point."""
    base = next((p["cpu_us"] for p in points if BASE[p["axis"]] == p["value"]), points[0]["cpu_us"])
    lines = [
        "# Cost as things grow",
        "",
        f"Measured by `make bench-scale` on one machine; the base is {_words(BASE)}, exactly once, three topics.",
        "CPU per event is that of the workers alone. Latency is from the event's timestamp to the subscriber, at"
        f" {PACED:,} events a second. The base is measured once for each thing that grows: its four rows say how much",
        "the machine differs from itself.",
        "",
        "| grown | to | CPU per event, over the base's | CPU per event, µs | events/s | p50, ms | p99, ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {p['axis']} | {p['value']:,} | {p['cpu_us'] / base:.2f} | {p['cpu_us']:.1f} | {p['rate']:,.0f}"
        f" | {p['p50_ms']:.0f} | {p['p99_ms']:.0f} |"
        for p in points
    ]
    path.write_text("\n".join([*lines, "", "![CPU per event and latency](../images/scale.svg)", ""]))


def plot(points: list[dict[str, Any]], path: Path) -> None:
    """A column of two panels per axis: cost above, latency below."""
    mpl.rcParams["svg.hashsalt"] = "tidemill"
    axes = [axis for axis in VALUES if any(p["axis"] == axis for p in points)]
    figure, panels = plt.subplots(2, len(axes), figsize=(3 * len(axes), 5), squeeze=False, sharey="row")
    for column, axis in enumerate(axes):
        line = [p for p in points if p["axis"] == axis]
        values = [p["value"] for p in line]
        panels[0][column].plot(values, [p["cpu_us"] for p in line], "o-")
        panels[1][column].plot(values, [p["p50_ms"] for p in line], "o-", label="p50")
        panels[1][column].plot(values, [p["p99_ms"] for p in line], "s--", label="p99")
        panels[1][column].set_xlabel(axis)
        for panel in (panels[0][column], panels[1][column]):
            panel.set_xscale("log")
            panel.set_ylim(bottom=0)
    panels[0][0].set_ylabel("CPU per event, µs")
    panels[1][0].set_ylabel("latency, ms")
    panels[1][0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _words(shape: dict[str, int]) -> str:
    return ", ".join(f"one {name[:-1]}" if number == 1 else f"{number:,} {name}" for name, number in shape.items())


if __name__ == "__main__":
    main()
