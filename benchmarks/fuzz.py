"""`make fuzz`: a million messages, half of them bad, and as many good ones.

Every message must end as one prediction or one rejection, and the bad ones must not slow the pipeline down to less
than a third. It runs in memory, on the engine that workers run: what is measured is Tidemill's own work. Printed, and
written to .tidemill/bench/fuzz.json.
"""

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any

import job
import mutations

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas

LEAST_RATIO = 1 / 3


def declare() -> tm.Pipeline:
    """The job, with the checks that depend on what came before, and nothing published that it need not be."""
    plain = job.declare("fuzz", publish=["predictions"])
    return tm.Pipeline(
        plain.name,
        plain.events,
        checks=[*plain.checks, tm.not_in_future("1h"), tm.not_late("30d"), tm.unique("1h")],
        tables=list(plain.tables),
        features=list(plain.features),
        labels=plain.labels,
        model=plain.model,
        publish=["predictions"],
    )


class Mill:
    """A pipeline in memory that is fed chunk by chunk, and forgets what it has accounted for."""

    def __init__(self, pipeline: tm.Pipeline) -> None:
        self.driver = tm.testing.Driver(pipeline)
        self.driver.serve(job.fitted(pipeline))
        plan = self.driver.plan
        self.codec = Codec(plan.contracts["events"], KnownSchemas())
        self.others = [
            b"\xc3\x01" + contract.fingerprint for name, contract in plan.contracts.items() if name != "events"
        ]
        self.seconds, self.messages, self.reasons = 0.0, 0, Counter[str]()

    def feed(self, first: int, count: int, share: float) -> None:
        """Send messages, process them, and check that each has one answer."""
        log, topic = self.driver.log, self.driver.plan.topic("events")
        sent = Counter[tuple[int, int]]()
        for key, value, headers in mutations.payments(self.codec, first, count, share, self.others):
            record = log.append(topic, key, value, headers=headers, timestamp=job_time(first))
            sent[record.partition, record.offset] += 1
        started = time.perf_counter()
        self.driver.run()
        self.seconds += time.perf_counter() - started
        self.messages += count
        rejections = self.driver.rejections()
        self.reasons.update(rejection.reason for rejection in rejections)
        answers = Counter((rejection.partition, rejection.offset) for rejection in rejections)
        predicted = self.driver.table("predictions")
        self.reasons["predicted"] += len(predicted)
        answers.update(
            zip(predicted["source_partition"].to_pylist(), predicted["source_offset"].to_pylist(), strict=True)
        )
        wrong = [place for place in sent | answers if sent[place] != answers[place]]
        if wrong:
            raise SystemExit(f"{len(wrong)} messages have not one answer each, such as {sorted(wrong)[:5]}")
        self._forget()

    def _forget(self) -> None:
        log, plan = self.driver.log, self.driver.plan
        for suffix in ("events", "predictions", "rejected"):
            name = plan.topic(suffix)
            for partition in log.partitions(name):
                log.delete_before(name, partition, log.end(name, partition))
        log.compact(plan.topic("changelog"))


def job_time(first: int) -> int:
    """The record timestamp of a chunk: that of its first payment."""
    return 1_767_225_600_000 + first * 20


def run(messages: int, chunk: int, seed: int = 0) -> dict[str, Any]:
    """Feed `messages` of each kind, good and half bad, by turns; what was measured and what became of them."""
    pipeline = declare()
    clean, bad = Mill(pipeline), Mill(pipeline)
    # What is compiled at the first call is not to be measured.
    for mill in (clean, bad):
        mill.feed(seed, min(chunk, 5_000), 0.5)
        mill.seconds, mill.messages, mill.reasons = 0.0, 0, Counter()
    for first in range(seed + chunk, seed + chunk + messages, chunk):
        clean.feed(first, chunk, 0.0)
        bad.feed(first, chunk, 0.5)
    rates = {name: mill.messages / mill.seconds for name, mill in (("clean", clean), ("half_bad", bad))}
    return {
        "messages": bad.messages,
        "rates": rates,
        "ratio": rates["half_bad"] / rates["clean"],
        "clean": dict(clean.reasons.most_common()),
        "half_bad": dict(bad.reasons.most_common()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="of each kind")
    parser.add_argument("--chunk", type=int, default=50_000, help="messages between two looks at the answers")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first payment")
    options = parser.parse_args()
    found = run(options.messages, options.chunk, options.seed)
    (job.HOME / "fuzz.json").write_text(json.dumps(found, indent=2) + "\n")
    for kind, rate in found["rates"].items():
        print(f"{kind.replace('_', ' ')}: {rate:,.0f} messages/s")
    print(f"ratio {found['ratio']:.2f}; {found['messages']:,} messages, half of them bad, each with one answer:")
    for reason, count in found["half_bad"].items():
        print(f"  {count:>9,} {reason}")
    if found["ratio"] < LEAST_RATIO:
        sys.exit(f"half bad messages let through {found['ratio']:.2f} of the clean rate; expected a third at least")


if __name__ == "__main__":
    main()
