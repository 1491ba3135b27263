"""`make bench-profiles`: what profiles cost beside the data plane, in CPU time of one process, as a ratio.

Of the data plane only `Task.prepare` is measured, from messages to messages: Kafka's client takes more than that again
(docs/explanation/performance.md), so that the share of a worker's time is less than half of the ratio given here. The
profiles are those of the job's features, predictions and outcomes, made batch by batch and merged. All by turns; each
counts with its best round, which other programs have disturbed the least.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import job
import numpy as np
import pyarrow as pa

import tidemill as tm
from tidemill.processors.drift import (
    Profile,
    Scope,
    merge_all,
    profile_of,
    profile_of_outcomes,
    profile_of_predictions,
    to_table,
)
from tidemill.schemas.builtin import PROFILE
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas

SCOPE = Scope("bench", 0, 1)
# The way from event to prediction alone: what profiles are compared with shall not be large for other reasons.
PIPELINE = job.declare(publish=("validated", "features", "predictions"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="events per round")
    parser.add_argument("--batch", type=int, default=10_000, help="events per batch and profile")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, after one that is not counted")
    options = parser.parse_args()
    rounds = [_round(options.events, options.batch, number) for number in range(options.rounds + 1)][1:]
    found: dict[str, Any] = {name: min(each[name] for each in rounds) for name in rounds[0]}
    found["ratio_of_prepare"] = found["profiles_us"] / found["prepare_us"]
    found |= {"events": options.events, "batch": options.batch, "rounds": options.rounds}
    print(f"preparing takes {found['prepare_us']:.2f} µs of CPU per event; profiles {found['profiles_us']:.3f} µs:")
    for kind in ("features", "predictions", "outcomes"):
        print(f"  {kind:<12} {found[f'{kind}_us']:.3f} µs")
    print(f"{found['ratio_of_prepare']:.1%} of what preparing the events takes")
    print(
        f"a profile as a record: {found['encode_ms']:.1f} ms to write, {found['record_kb']:.1f} kB; of all three kinds"
    )
    path = job.HOME / "profiles.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"written to {path}")


def _round(events: int, batch: int, number: int) -> dict[str, float]:
    driver = tm.testing.Driver(PIPELINE)
    driver.serve(job.fitted(PIPELINE))
    driver.send(job.payments(number * events, events))
    plane = _prepare_time(driver, batch)
    model, target = PIPELINE.model, PIPELINE.target()
    assert model is not None
    features, predictions = driver.table("features").combine_chunks(), driver.table("predictions").combine_chunks()
    labels = pa.array(np.random.default_rng(number).random(events) < 0.1)
    outcomes = predictions.append_column("label", labels)

    def profiled(table: pa.Table, make: Callable[[pa.Table], Profile]) -> tuple[float, Profile]:
        cuts = [table.slice(start, batch) for start in range(0, events, batch)]
        return _timed(lambda: merge_all([make(cut) for cut in cuts]))

    made = {
        "features": profiled(features, lambda rows: profile_of(rows, "features", model.features, SCOPE)),
        "predictions": profiled(predictions, lambda rows: profile_of_predictions(rows, target, SCOPE)),
        "outcomes": profiled(outcomes, lambda rows: profile_of_outcomes(rows, target, SCOPE)),
    }
    codec = Codec(PROFILE, KnownSchemas())
    encoding, records = _timed(lambda: codec.encode(to_table([profile for _, profile in made.values()])))
    total = sum(seconds for seconds, _ in made.values())
    return {
        "prepare_us": plane / events * 1e6,
        "profiles_us": total / events * 1e6,
        **{f"{kind}_us": seconds / events * 1e6 for kind, (seconds, _) in made.items()},
        "encode_ms": encoding * 1e3,
        "record_kb": sum(map(len, records)) / 1e3,
    }


def _prepare_time(driver: tm.testing.Driver, batch: int) -> float:
    """CPU seconds that the driver's only task takes to prepare all that is on the log."""
    (task,) = driver.workers[0].tasks
    prepare, spent = task.prepare, 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal spent
        seconds, prepared = _timed(lambda: prepare(*arguments))
        spent += seconds
        return prepared

    task.prepare = timed  # type: ignore[method-assign]
    driver.run(batch)
    return spent


def _timed(step: Callable[[], Any]) -> tuple[float, Any]:
    before = time.thread_time()
    made = step()
    return time.thread_time() - before, made


if __name__ == "__main__":
    main()
