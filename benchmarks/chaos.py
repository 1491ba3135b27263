"""`make chaos`: faults while events flow; after each, nothing missing, nothing doubled, features as without it.

It runs on an embedded broker of its own, with workers that `tidemill run` started; what a fault leaves behind is there
when the next one comes, and everything since the start is looked at again. Time to recover is what a subscriber sees:
until each partition has a prediction for an event that was sent after the fault.
Printed, and written to .tidemill/chaos/summary.json; exits with 1 if anything is wrong.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from chaos_check import judge
from chaos_faults import Fault, all_faults, random_kills
from chaos_stand import Stand

from tidemill.schemas.errors import TidemillError, nearest
from tidemill.streams.broker import EmbeddedBroker

HOME = Path(os.environ.get("TIDEMILL_HOME", ".tidemill")).absolute()
FOLDER = HOME / "chaos"
RECOVERY_SECONDS = 60.0
CALM_SECONDS = 2.0
"""Traffic goes on for so long after the recovery: what was broken in it shows in later features."""


def tried(stand: Stand, fault: Fault, events: int) -> dict[str, Any]:
    """What a fault did, as a line of the summary; what went wrong otherwise is its `error`."""
    started = time.monotonic()
    found: dict[str, Any] = {
        "name": fault.name,
        "missing": None,
        "doubled": None,
        "features_equal": False,
        "recovery_s": None,
        "max_batch": stand.max_batch,
    }
    try:
        progress(fault, "waits for workers and traffic")
        stand.start()
        before = stand.traffic.sent
        progress(fault, "is done to workers under way")
        since, found["note"] = fault.strike(stand)
        progress(fault, "is to be recovered from")
        found["recovery_s"] = round(stand.wait_for_recovery(since, RECOVERY_SECONDS), 2)
        while stand.traffic.sent - before < events:
            stand.traffic.check()
            time.sleep(0.05)
        time.sleep(CALM_SECONDS)
        progress(fault, "has passed; what came of it is looked at")
        stand.traffic.pause()
        stand.wait_for_answers(RECOVERY_SECONDS)
        found |= asdict(judge(stand.connection, stand.name))
    except (RuntimeError, OSError, AssertionError, TidemillError) as error:
        found["error"] = str(error)
        stand.tell()
    found["seconds"] = round(time.monotonic() - started, 1)
    return found


def round_of(broker: EmbeddedBroker, faults: list[Fault], seed: int, options: Namespace) -> Iterator[dict[str, Any]]:
    """Each fault once, on one pipeline after the other fault; after one that left something wrong, on a new one."""
    waiting, number = list(faults), 0
    while waiting:
        name = f"chaos-{seed}-{number}"
        with Stand(broker, FOLDER / "runs" / name, name, random.Random(f"{seed} {number}"), options) as stand:
            while waiting:
                line = {"seed": seed} | tried(stand, waiting.pop(0), options.events)
                yield line
                if not holds(line):
                    break
        number += 1


def progress(fault: Fault, what: str) -> None:
    """Where it stands, on a line that the next one overwrites."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{fault.name} {what}", end="\r", file=sys.stderr, flush=True)


def holds(line: dict[str, Any]) -> bool:
    """Whether nothing is wrong with it."""
    return line["missing"] == line["doubled"] == 0 and line["features_equal"] and "error" not in line


def show(line: dict[str, Any]) -> None:
    """One row of the table."""
    recovery = "-" if line["recovery_s"] is None else f"{line['recovery_s']:.1f} s"
    numbers = [line.get("events", "-"), line["missing"], line["doubled"], line["features_equal"], recovery]
    cells = "".join(f"{'-' if number is None else str(number):>10}" for number in numbers)
    if sys.stderr.isatty():
        print("\x1b[K", end="", file=sys.stderr)
    notes = "; ".join(line[field] for field in ("note", "wrong", "error") if line.get(field))
    print(f"{'ok  ' if holds(line) else 'FAIL'} {line['name']:<26}{cells}   {notes}")
    sys.stdout.flush()


def chosen(options: Namespace) -> list[Fault]:
    """The faults that were asked for."""
    known = all_faults(60.0 if options.long else 20.0)
    if options.minutes:
        return [Fault("random-kills", partial(random_kills, options.minutes * 60))]
    names = [fault.name for fault in known]
    for name in options.only:
        if name not in names:
            raise SystemExit(f"there is no fault {name!r}{nearest(name, names)}; known: {', '.join(names)}")
    return [fault for fault in known if not options.only or fault.name in options.only]


def parsed(arguments: Sequence[str] | None = None) -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this fault; repeatable")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of batch sizes and moments")
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault is tried, with a seed each")
    parser.add_argument("--minutes", type=float, help="instead: kill workers at random moments for so long")
    parser.add_argument("--long", action="store_true", help="the broker is away for 60 s, not for 20")
    parser.add_argument("--events", type=int, default=5_000, help="at least so many for each fault")
    parser.add_argument("--workers", type=int, default=2, help="processes that share the four partitions")
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed()
    faults = chosen(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {options.seed}: {len(faults)} faults, {options.rounds} rounds; again with --seed {options.seed}")
    print(f"{'':5}{'fault':<26}{'events':>10}{'missing':>10}{'doubled':>10}{'features':>10}{'recovery':>10}")
    lines: list[dict[str, Any]] = []
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        with EmbeddedBroker(FOLDER / "broker", port=0, jars=HOME / "kafka" / "jars") as broker:
            for number in range(options.rounds):
                for line in round_of(broker, faults, options.seed + number, options):
                    lines.append(line)
                    show(line)
    except KeyboardInterrupt:
        sys.exit("interrupted; what was started has ended")
    finally:
        shutil.rmtree(FOLDER / "broker", ignore_errors=True)
        summary = {"seed": options.seed, "faults": lines}
        (FOLDER / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    wrong = [line["name"] for line in lines if not holds(line)]
    if wrong:
        sys.exit(f"wrong after {', '.join(wrong)}; the workers' messages are in {FOLDER / 'runs'}")


if __name__ == "__main__":
    main()
