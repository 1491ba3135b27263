"""The job against the bare loop, by turns on one broker: with three topics, and with the predictions alone."""

import statistics
from collections import defaultdict
from collections.abc import Callable
from itertools import count

import cluster
import job
from children import result_of, settings, workers

from tidemill.streams.kafka.connection import Connection

PUBLISH = {"three_topics": ("validated", "features", "predictions"), "one_topic": ("predictions",)}
Runs = dict[str, list[dict[str, float]]]
_numbers = count()


def measure(connection: Connection, events: int, rounds: int, say: Callable[[str], None]) -> Runs:
    """Events per second and CPU microseconds per event of every run, by what ran."""
    runs: Runs = defaultdict(list)
    say("warming up the broker")
    turn(connection, "three_topics", min(events, 100_000), bare_first=True)
    for number in range(rounds):
        for variant in list(PUBLISH)[:: -1 if number % 2 else 1]:
            found = turn(connection, variant, events, bare_first=bool(number % 2))
            for what, result in found.items():
                runs[f"{what}_{variant}"].append(result)
            rates = ", ".join(f"{what} {result['rate']:,.0f}/s" for what, result in found.items())
            ratio = found["job"]["rate"] / found["bare"]["rate"]
            say(f"round {number + 1} of {rounds}, {variant.replace('_', ' ')}: {rates}, ratio {ratio:.2f}")
    return runs


def turn(connection: Connection, variant: str, events: int, *, bare_first: bool) -> dict[str, dict[str, float]]:
    """The job and the bare loop once each, on the same events."""
    declared = {"name": f"bench{next(_numbers)}", "publish": PUBLISH[variant]}
    pipeline = job.declare(**declared)
    cluster.prepare(connection, pipeline)
    cluster.load(connection, pipeline, events)
    copies = [f"{pipeline.name}.copy-{topic}" for topic in PUBLISH[variant]]
    cluster.make_topics(connection, copies, pipeline.partitions)

    def bare() -> dict[str, float]:
        arguments = (connection.bootstrap_servers, pipeline.plan().topic("events"), ",".join(copies), events)
        return result_of("bare.py", *arguments, env=settings(declared))

    def full() -> dict[str, float]:
        with workers(connection, declared) as one:
            one.go()
            return one.done(events)

    order = {"bare": bare, "job": full} if bare_first else {"job": full, "bare": bare}
    found = {what: run() for what, run in order.items()}
    cluster.drop(connection, pipeline.name)
    for result in found.values():
        result["rate"] = result["events"] / result["seconds"]
        result["cpu_us"] = result["cpu"] / result["events"] * 1e6
    return found


def ratios(runs: Runs, variant: str) -> list[float]:
    """The job's rate over the bare loop's, round by round."""
    pairs = zip(runs[f"job_{variant}"], runs[f"bare_{variant}"], strict=True)
    return [full["rate"] / bare["rate"] for full, bare in pairs]


def median(runs: Runs, what: str, figure: str) -> float:
    """The median of a figure over the rounds."""
    return statistics.median(run[figure] for run in runs[what])
