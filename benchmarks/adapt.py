"""`make bench-adapt`: how well what ships adapts to drift, with late labels, beside static, periodic and online models.

One default configuration for all streams. Writes `.tidemill/bench/adaptation.json`, a page and a picture into docs/.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import adapt_methods as methods
from adapt_page import GOALS, page
from adapt_streams import Stream, made, read
from rich.progress import Progress
from river.forest import ARFClassifier
from river.tree import HoeffdingAdaptiveTreeClassifier

CHECKOUT = Path(__file__).parents[1]
HOME = CHECKOUT / ".tidemill" / "bench"
DOCS = CHECKOUT / "docs"
STREAMS = CHECKOUT.parent / "shared" / "streams"
DELAYS = (0, 48, 1_000)
SELDOM = (2, 3, 6)
"""Twentieths of a stream between periodic refits, besides one."""
HORIZON = 3_000
"""Rows after the beginning of a drift in which an alarm is due to it."""
QUICK_ROWS = 5_000
ONLINE: dict[str, Callable[[], Any]] = {
    "hoeffding_adaptive_tree": lambda: HoeffdingAdaptiveTreeClassifier(seed=1),
    "adaptive_random_forest": lambda: ARFClassifier(n_models=10, seed=1),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=Path, default=STREAMS, help="folder of Parquet files (%(default)s)")
    parser.add_argument("--stream", action="append", help="only this one; may be repeated")
    parser.add_argument("--delay", action="append", type=int, help="labels this many rows late; may be repeated")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK_ROWS:,} rows, without River's forest")
    parser.add_argument("--resume", action="store_true", help="keep the streams that the last run has measured")
    parser.add_argument("--topics", action="store_true", help="through a real broker, see adapt_topics.py")
    parser.add_argument("--block", type=int, help="rows between two versions through topics, at most")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    options = parser.parse_args()
    if options.topics:
        return through_topics(parser, options)
    delays = tuple(options.delay or DELAYS)
    streams = chosen(parser, options, options.stream or ())
    (HOME / "adaptation-river").mkdir(parents=True, exist_ok=True)
    whole = not (options.quick or options.stream or options.delay)
    path = HOME / ("adaptation.json" if whole else "adaptation-part.json")
    before = json.loads(path.read_text()) if path.exists() else {}
    found = before["streams"] if options.resume and before else {}
    left = [stream for stream in streams if stream.name not in found]
    begun = time.monotonic()
    with Progress() as progress, ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        bar = progress.add_task("streams", total=sum(len(stream.labels) for stream in left))
        jobs = {pool.submit(measure, stream, delays, quick=options.quick): stream for stream in left}
        for job in as_completed(jobs):
            found[jobs[job].name] = job.result()
            report = {
                "quick": options.quick,
                "seconds": round(time.monotonic() - begun),
                "streams": {stream.name: found[stream.name] for stream in streams if stream.name in found},
                **({"topics": before["topics"]} if "topics" in before else {}),
            }
            # After each stream: what has been measured is not lost when the rest is given up.
            path.write_text(json.dumps(report, indent=1) + "\n")
            progress.advance(bar, len(jobs[job].labels))
    print(page(report))
    if whole:
        publish(report)
    return 0


def chosen(parser: argparse.ArgumentParser, options: argparse.Namespace, names: Sequence[str]) -> list[Stream]:
    """The streams of these names, or all; those with goals first."""
    streams = [read(path) for path in sorted(options.streams.glob("*.parquet"))]
    if not streams:
        print(f"no streams in {options.streams}: only made ones are measured", file=sys.stderr)
    streams = sorted([*streams, *made()], key=lambda stream: stream.name not in GOALS)
    if unknown := set(names) - {stream.name for stream in streams}:
        parser.error(f"there is no stream {sorted(unknown)}; there are {[stream.name for stream in streams]}")
    streams = [stream for stream in streams if not names or stream.name in names]
    return [stream.head(QUICK_ROWS) for stream in streams] if options.quick else streams


def publish(report: dict[str, Any]) -> None:
    """The page and the picture."""
    from adapt_picture import draw

    (DOCS / "reference" / "adaptation.md").write_text(page(report))
    draw(report, DOCS / "images" / "adaptation.svg")


def through_topics(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """The shipped model on streams through a real broker, under the key `topics` beside what was measured in memory."""
    import adapt_topics
    import cluster

    streams = chosen(parser, options, options.stream or adapt_topics.STREAMS)
    path = HOME / ("adaptation-part.json" if options.quick else "adaptation.json")
    report = json.loads(path.read_text()) if path.exists() else {"quick": options.quick, "streams": {}}
    with cluster.broker() as connection:
        for stream in streams:
            for delay in options.delay or adapt_topics.DELAYS:
                mine = adapt_topics.measure(stream, delay, connection, options.block or adapt_topics.BLOCK)
                memory = report["streams"].get(stream.name, {}).get(str(delay))
                if memory and memory["rows"] == mine["rows"]:
                    mine["in_memory"] = memory["accuracy"]
                report.setdefault("topics", {}).setdefault(stream.name, {})[str(delay)] = mine
                path.write_text(json.dumps(report, indent=1) + "\n")
                print(stream.name, delay, json.dumps(mine), flush=True)
    print("\n".join(adapt_topics.table(report["topics"])))
    if set(GOALS) <= set(report["streams"]) and not options.quick:
        publish(report)
    return 0


def measure(stream: Stream, delays: tuple[int, ...], *, quick: bool) -> dict[str, Any]:
    """All methods on one stream, by delay."""
    fits, tenth = methods.Fits(stream), len(stream.labels) // 10
    passes = {
        name: methods.online(make, stream, delays, kept=HOME / "adaptation-river" / f"{name}-{stream.name}.npz")
        for name, make in ONLINE.items()
        if not (quick and name == "adaptive_random_forest")
    }
    found: dict[str, Any] = {}
    for delay in delays:
        mine, policy = methods.shipped(fits, stream, delay)
        others = {"no_change": methods.no_change(stream, delay)}
        for kind in methods.KINDS:
            for name, every, window in (("static", None, None), ("refit", 1, tenth), ("history", 1, None)):
                others[f"{name}_{kind}"] = methods.refitted(fits, stream, delay, kind, every=every, window=window)
        for every in SELDOM:
            seldom = methods.refitted(fits, stream, delay, "trees", every=every, window=tenth)
            others[f"refit_trees_{seldom.promotions}_times"] = seldom
        others |= {name: results[delay] for name, results in passes.items()}
        found[str(delay)] = {
            **figures(stream, mine),
            "rows": len(stream.labels),
            "alarm_rows": [row + delay for row in mine.alarms],
            "promotion_rows": mine.promoted,
            "rollbacks": mine.rollbacks,
            "promotions_worse": mine.worse,
            "majority": round(methods.majority(stream), 4),
            "permuted": permuted(stream, delay),
            "baselines": {name: figures(stream, outcome) for name, outcome in others.items()},
            "events": [
                {
                    "kind": e.kind.value,
                    "row": e.row,
                    "reason": e.reason,
                    **{k: round(v, 4) for k, v in e.figures.items()},
                }
                for e in policy.events
            ],
        }
    return found


def figures(stream: Stream, outcome: methods.Outcome) -> dict[str, Any]:
    result = {
        "accuracy": round(methods.accuracy(stream, outcome.answers), 4),
        "promotions": outcome.promotions,
        "fits": outcome.fits,
        "alarms": len(outcome.alarms),
        "cpu_s": round(outcome.cpu_s, 2),
        "curve": methods.curve(stream, outcome.answers),
    }
    if stream.drifts is not None:
        result["false_alarms"] = len(outcome.alarms) - len(found_drifts(stream.drifts, outcome.alarms))
    return result


def found_drifts(drifts: tuple[int, ...], alarms: list[int]) -> set[int]:
    """The drifts that an alarm is due to; every further alarm is false. Rows as labels count them."""
    due = set()
    for drift, following in zip(drifts, (*drifts, sys.maxsize)[1:], strict=True):
        if any(drift <= alarm < min(drift + HORIZON, following) for alarm in alarms):
            due.add(drift)
    return due


def permuted(stream: Stream, delay: int) -> dict[str, float]:
    """Honesty: with labels permuted in time nothing can be learnt but the commonest class."""
    shuffled = stream.head(QUICK_ROWS).permuted()
    outcome, _ = methods.shipped(methods.Fits(shuffled), shuffled, delay)
    return {
        "accuracy": round(methods.accuracy(shuffled, outcome.answers), 4),
        "majority": round(methods.majority(shuffled), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
