"""`tidemill labels status`: what became of labels, how long they take, how complete the days are."""

from typing import Any

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, out, print_json, print_table


def status(pipeline: PipelineName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show what became of labels, how long they take, and how complete each day's labels are.

    A day is provisional while labels of it are still expected, judging by how long labels took so far.

    Example:
        tidemill labels status flights

    """
    from contextlib import closing
    from dataclasses import asdict

    from tidemill.cli.clients import client_for
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.outcomes.status import label_status

    with client_for(pipeline, bootstrap_servers) as client, closing(KafkaReader(client.connection)) as reader:
        found = label_status(reader, client.name)
    if as_json:
        days = [{**asdict(day), "mature": day.mature} for day in found.days]
        print_json({"pipeline": client.name, **asdict(found), "days": days})
        return
    out.print(f"{found.waiting:,} predictions wait for a label; {found.early:,} labels came before a prediction")
    out.print("  ".join(f"{kind} {count:,}" for kind, count in found.counts.items()))
    out.print("delay: " + ", ".join(f"{name} {_span(seconds)}" for name, seconds in found.delays.items()))
    rows: list[dict[str, Any]] = [
        {
            "day": day.day.isoformat(),
            "predictions": day.predictions,
            "labelled": day.labelled,
            "expected by now": "unknown" if day.expected is None else f"{day.expected:.0%}",
            "figures": "mature" if day.mature else "provisional",
        }
        for day in found.days
    ]
    print_table("Labels by day of their events", rows)


def _span(seconds: float | None) -> str:
    """A span of time in the largest unit that it has one of."""
    if seconds is None:
        return "unknown"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2f} s"
