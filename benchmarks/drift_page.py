"""The page that `make bench-drift` writes."""

from typing import Any

_HEAD = """# Drift benchmark

Written by `make bench-drift`, which also writes `.tidemill/bench/drift.json`. What it means for you is in
[how drift is found](../explanation/drift-detection.md); what can be declared, in [drift](drift.md).

## Method

Each case is a sequence of errors of a model, row by row, with known rows at which they become more frequent. A
*coin* is an error with a given probability. *SEA*, *STAGGER*, *Agrawal*, *LED* and *Hyperplane* are River's
generators; the streams with the name of a file are kept outside this project. For both, the errors are those of a
Hoeffding tree that predicts each row before it learns it, so a drift is a rise that passes. All detectors have
their defaults and see the same errors.

An alarm within {horizon:,} rows of the beginning of a drift (of its end, if it takes time), and before the next, is
due to it: the first gives the delay, in rows. Without one the drift is missed. Every other alarm is false, and so
is one that says that the errors fell: two-sided detectors such as ADWIN and KSWIN pay for that. The *wait* is the
delay, or for a missed drift the rows until it was given up. *False alarms* are per 10,000 rows outside of those
spans. Alarms in the first 1,000 rows of a learner do not count. KSWIN takes hundreds of microseconds a row and saw
fewer runs.

The ratios and the threshold of the shipped default were chosen on other coins: error rates of .12 and .3, odds
times 1.7 and 2.6, other seeds. The threshold was then checked at a rate of .2.
"""


def page(found: dict[str, Any]) -> str:
    """The results as a page in Markdown."""
    lines = [_HEAD.format(horizon=found["horizon"])]
    if not found["streams"]:
        lines += ["The streams in files were not there for this run.", ""]
    lines += [*_default(found), *_fronts(found["pareto"]), *_tables(found["table"])]
    return "\n".join(lines).rstrip() + "\n"


def _default(found: dict[str, Any]) -> list[str]:
    mine = found["default"]
    lines = [
        "## The default on steps",
        "",
        f"`{mine['detector']}` on {mine['runs']} runs of 5,000 rows at an error rate of .2, then a step:",
        "",
        "| | aim | measured |",
        "| --- | ---: | ---: |",
        f"| false alarms per 1,000 stationary rows | .02 | {mine['false_alarms_per_1000']:.4f} |",
        f"| mean delay from .2 to .4, rows | 90 | {mine['delay_step_02_04']:.0f} |",
        f"| mean delay from .2 to .3, rows | 230 | {mine['delay_step_02_03']:.0f} |",
        f"| missed | .05 | {mine['miss_rate']:.3f} |",
        "",
        "At other rates:",
        "",
        "| from | to | false alarms per 1,000 rows | mean delay | missed |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["base_rates"]:
        lines.append(
            f"| {row['before']:g} | {row['after']:g} | {row['false_alarms_per_10000'] / 10:.4f} |"
            f" {_number(row['mean_delay'], 0)} | {row['missed']:.3f} |"
        )
    return [*lines, ""]


def _fronts(pareto: dict[str, Any]) -> list[str]:
    said = "is" if pareto["default_on_front"] else "is NOT"
    lines = [
        "## Against the others",
        "",
        "Means over the streams. A detector is on the Pareto front if no other is at least as good in all columns",
        f"and better in one; the default {said} on it in each of the three groups.",
        "",
    ]
    for group, result in pareto["groups"].items():
        lines += [
            f"### {group.capitalize()}",
            "",
            "| detector | false alarms per 10,000 | mean wait | missed | on the front |",
            "| --- | ---: | ---: | ---: | :---: |",
        ]
        for name, row in result["figures"].items():
            figures = f"{row['false_alarms_per_10000']:.2f} | {row['mean_wait']:.0f} | {row['missed']:.3f}"
            lines.append(f"| {name} | {figures} | {'yes' if name in result['front'] else ''} |")
        lines.append("")
    return lines


def _tables(table: list[dict[str, Any]]) -> list[str]:
    lines = ["## By stream", ""]
    for stream in dict.fromkeys(row["stream"] for row in table):
        lines += [
            f"### {stream}",
            "",
            "| detector | runs | alarms per 10,000 | false alarms per 10,000 | mean delay | missed |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in (row for row in table if row["stream"] == stream):
            columns = (("alarms_per_10000", 2), ("false_alarms_per_10000", 2), ("mean_delay", 0), ("missed", 3))
            figures = " | ".join(_number(row[name], digits) for name, digits in columns)
            lines.append(f"| {row['detector']} | {row['runs']} | {figures} |")
        lines.append("")
    return lines


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
