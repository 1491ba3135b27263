"""`make bench`: ratios measured in one run, printed and written to .tidemill/bench/throughput.json."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from typing import Any

import cluster
import codec_speed
import job
import latency
import throughput

from tidemill.streams.kafka.connection import Connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="events per run of the job and of the bare loop")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, by turns")
    parser.add_argument("--latency-seconds", type=float, default=8.0, help="per rate and delivery, after the warm-up")
    parser.add_argument("--only", choices=("throughput", "latency", "codec"), help="measure one part")
    options = parser.parse_args()
    # Make and CI end a process by SIGTERM: as with Ctrl-C, all that was started has to end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: dict[str, Any] = {"machine": _machine(), "load_before": os.getloadavg()}
    with cluster.broker() as connection:
        if options.only in (None, "codec"):
            _say("codec against fastavro")
            found["codec"] = codec_speed.measure(rounds=7)
        if options.only in (None, "throughput"):
            found |= _throughput(connection, options.events, options.rounds)
        if options.only in (None, "latency"):
            found["latency_ms"] = _latency(connection, options.latency_seconds)
    found["load_after"] = os.getloadavg()
    _report(found)
    path = job.HOME / "throughput.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten to {path}")


def _throughput(connection: Connection, events: int, rounds: int) -> dict[str, Any]:
    runs = throughput.measure(connection, events, rounds, _say)
    found: dict[str, Any] = {"events": events, "rounds": rounds}
    for variant in throughput.PUBLISH:
        each = throughput.ratios(runs, variant)
        found[f"ratio_{variant}"] = statistics.median(each)
        found[f"ratio_{variant}_min_max"] = [min(each), max(each)]
    found["cpu_us_per_event"] = throughput.median(runs, "job_three_topics", "cpu_us")
    found["events_per_second"] = {what: throughput.median(runs, what, "rate") for what in runs}
    found["cpu_us_per_event_of"] = {what: throughput.median(runs, what, "cpu_us") for what in runs}
    return found | {"runs": runs}


def _latency(connection: Connection, seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for delivery in latency.MODES:
        for rate in latency.RATES:
            _say(f"latency, {delivery}, {rate:,} events/s")
            found.setdefault(delivery, {})[str(rate)] = latency.measure(connection, delivery, rate, seconds)
    return found


def _report(found: dict[str, Any]) -> None:
    before, after = found["load_before"][0], found["load_after"][0]
    print(f"\n{found['machine']}; load average {before:.1f} before, {after:.1f} after")
    if before > 0.3 * (os.cpu_count() or 1):
        print(
            "Other programs were at work. The ratios suffer from that, the latencies most: repeat on an idle machine."
        )
    if "ratio_three_topics" in found:
        _report_throughput(found)
    for delivery, by_rate in found.get("latency_ms", {}).items():
        for rate, ms in by_rate.items():
            print(f"{delivery} at {int(rate):>6,} events/s: p50 {ms['p50']:.1f} ms, p99 {ms['p99']:.1f} ms")
    for what in ("decode", "encode") if "codec" in found else ():
        ours, theirs, ratio = (found["codec"][key] for key in (f"{what}_us", f"fastavro_{what}_us", f"{what}_ratio"))
        print(f"{what}: {ours:.2f} µs of CPU per event, fastavro {theirs:.2f}: {ratio:.0f} times as much")


def _report_throughput(found: dict[str, Any]) -> None:
    rates, cpu = found["events_per_second"], found["cpu_us_per_event_of"]
    for variant in throughput.PUBLISH:
        low, high = found[f"ratio_{variant}_min_max"]
        ratio, rounds = found[f"ratio_{variant}"], found["rounds"]
        print(f"{variant.replace('_', ' ')}: ratio {ratio:.2f} ({low:.2f} to {high:.2f} in {rounds} rounds)")
        for what in (f"job_{variant}", f"bare_{variant}"):
            name = what.partition("_")[0]
            print(f"  {name:4} {rates[what]:>10,.0f} events/s, {cpu[what]:6.2f} µs of CPU per event")


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()
