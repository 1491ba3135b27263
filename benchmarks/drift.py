"""`make bench-drift`: delay, false alarms and missed drifts of every sequential detector, into docs/.

Known drifts of every kind: coins, River's generators, and the streams in a folder, which need not be there. Rows are
what is counted, so figures do not depend on the machine.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import drift_streams as streams
from drift_measure import ALWAYS, DETECTORS, HORIZON, NEVER, SLOW, Score, alarms, dominated, steps
from drift_page import page
from rich.progress import Progress

from tidemill.processors.drift.detectors import DEFAULT

CHECKOUT = Path(__file__).parents[1]
HOME = CHECKOUT / ".tidemill" / "bench"
DOCS = CHECKOUT / "docs" / "reference" / "drift-benchmark.md"
STREAMS = CHECKOUT.parent / "shared" / "streams"
STEPS = {"delay_step_02_04": (0.2, 0.4), "delay_step_02_03": (0.2, 0.3)}
BASE_RATES = tuple((rate, round(factor * rate, 3)) for rate in (0.02, 0.05, 0.1, 0.3, 0.4) for factor in (1.5, 2))
# Not those that the ratios and the threshold were chosen on.
FIRST_SEED = 1_000
Scores = dict[tuple[str, str], Score]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--streams", type=Path, default=STREAMS, help="a folder of Parquet files (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs, and the beginnings of the streams")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--docs", type=Path, default=DOCS, help="the page that is written; not with --quick")
    options = parser.parse_args()
    files = sorted(path for path in options.streams.glob("*.parquet") if path.stem in streams.KNOWN)
    if not files:
        print(f"no known streams in {options.streams}: only coins and generators are measured", file=sys.stderr)
    begun = time.monotonic()
    found = report(measure(list(jobs(files, quick=options.quick)), options.workers), files)
    found |= {"quick": options.quick, "seconds": round(time.monotonic() - begun)}
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "drift.json").write_text(json.dumps(found, indent=2) + "\n")
    text = page(found)
    print(json.dumps(found, indent=2) if options.json else text)
    if not options.quick:
        options.docs.write_text(text)
    return 0 if found["pareto"]["default_on_front"] else 1


def jobs(files: Iterable[Path], *, quick: bool) -> Iterator[tuple[Any, ...]]:
    """What is to be measured, the longest first."""
    few = 10 if quick else 1
    yield from (("stored", str(path), 4_000 if quick else None) for path in files)
    seeds = max(1, 3 // few)
    yield from (
        ("generated", name, seed, seed == 0 and not quick) for seed in range(seeds) for name in streams.generated()
    )
    yield from (("coins", seed, seed < 2 and not quick) for seed in range(max(2, 24 // few)))
    for before, after in (*STEPS.values(), *BASE_RATES):
        runs = (400 if (before, after) in STEPS.values() else 100) // few
        yield from (("steps", before, after, first, min(50, runs)) for first in range(0, runs, 50))


def measure(todo: list[tuple[Any, ...]], workers: int) -> Scores:
    scores: Scores = {}
    # Not forked: polars' threads would not live in the child.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool, Progress(transient=True) as progress:
        bar = progress.add_task("detectors", total=len(todo))
        for done in as_completed([pool.submit(run, job) for job in todo]):
            for key, score in done.result().items():
                scores.setdefault(key, Score()).merge(score)
            progress.advance(bar)
    return scores


def run(job: tuple[Any, ...]) -> Scores:
    """One job, in a process of the pool."""
    match job:
        case "stored", path, most:
            return judged([streams.stored(Path(path), most)], slow=most is None)
        case "generated", name, seed, slow:
            return judged([streams.generated()[name](FIRST_SEED + 10 * seed)], slow=slow)
        case "coins", seed, slow:
            return judged(streams.coins(FIRST_SEED + seed), slow=slow)
        case "steps", before, after, first, runs:
            return {
                (f"{before:g} to {after:g}", DEFAULT): steps(
                    range(FIRST_SEED + first, FIRST_SEED + first + runs), before, after
                )
            }
    raise ValueError(job)


def judged(cases: Iterable[streams.Case], *, slow: bool) -> Scores:
    scores: Scores = {}
    for case in cases:
        for name in DETECTORS:
            if slow or name not in SLOW:
                scores.setdefault((case.stream, name), Score()).add(case, alarms(name, case))
    return scores


def report(scores: Scores, files: Iterable[Path]) -> dict[str, Any]:
    stepped = {f"{before:g} to {after:g}" for before, after in (*STEPS.values(), *BASE_RATES)}
    table = [
        {"stream": stream, "detector": name} | score.result()
        for (stream, name), score in sorted(scores.items(), key=lambda item: (item[0][0], DETECTORS.index(item[0][1])))
        if stream not in stepped
    ]
    results = {pair: scores[f"{pair[0]:g} to {pair[1]:g}", DEFAULT].result() for pair in (*STEPS.values(), *BASE_RATES)}
    mine = [results[pair] for pair in STEPS.values()]
    groups = {
        "all": table,
        "coins": [row for row in table if row["stream"].startswith("coin")],
        "learners": [row for row in table if not row["stream"].startswith("coin")],
    }
    fronts = {name: front(rows) for name, rows in groups.items()}
    return {
        "horizon": HORIZON,
        "streams": [path.stem for path in files],
        "table": table,
        "default": {
            "detector": DEFAULT,
            "false_alarms_per_1000": fmean(each["false_alarms_per_10000"] for each in mine) / 10,
            **{name: results[pair]["mean_delay"] for name, pair in STEPS.items()},
            "miss_rate": fmean(each["missed"] for each in mine),
            "stationary_rows": sum(scores[f"{a:g} to {b:g}", DEFAULT].quiet_rows for a, b in STEPS.values()),
            "runs": sum(each["runs"] for each in mine),
        },
        "base_rates": [{"before": before, "after": after} | results[before, after] for before, after in BASE_RATES],
        "pareto": {
            "default_on_front": all(DEFAULT in each["front"] for each in fronts.values()),
            "groups": fronts,
        },
    }


def front(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Who is not beaten in false alarms, waits and misses at once; means over the streams with known drifts."""

    def mean(name: str, column: str) -> float:
        values = [row[column] for row in rows if row["detector"] == name and row[column] is not None]
        return fmean(values) if values else float("inf")

    columns = ("false_alarms_per_10000", "mean_wait", "missed")
    # On what each of them was measured: the slow ones saw fewer runs, but every stream.
    figures = {name: tuple(mean(name, column) for column in columns) for name in DETECTORS}
    figures = {name: found for name, found in figures.items() if float("inf") not in found}
    return {
        "figures": {name: dict(zip(columns, found, strict=True)) for name, found in figures.items()},
        "front": [name for name in figures if not dominated(name, figures)],
        "dominated_by": dominated(DEFAULT, figures),
        "baselines": [ALWAYS, NEVER],
    }


if __name__ == "__main__":
    raise SystemExit(main())
