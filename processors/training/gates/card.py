"""The model card: one page in Markdown about a candidate, whether it was let through or refused.

After Mitchell et al., Model Cards for Model Reporting (2019).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.processors.drift.fairness import GroupFigures
from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.fairness import WORDS, fairness_figures
from tidemill.processors.training.gates.measures import WHOLE, measures
from tidemill.processors.training.gates.resampling import Estimate
from tidemill.processors.training.gates.verdict import Verdict


@dataclass(frozen=True)
class Tried:
    """A candidate of the search: its name, how many trials it had, and its best value of the metric (None: failed)."""

    name: str
    trials: int
    value: float | None


@dataclass(frozen=True)
class Origin:
    """Where a candidate comes from.

    `dataset` is the data set's id. `ranges` says what is in it, in words: "event times", "offsets of partition 0".
    `tried` are all candidates of the search. `notes` are limits that somebody should know.
    """

    pipeline: str
    model: str
    version: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = ""
    ranges: Mapping[str, str] = field(default_factory=dict)
    tried: Sequence[Tried] = ()
    trigger: str = ""
    job: str = ""
    notes: Sequence[str] = ()


def card(origin: Origin, given: Examination, verdict: Verdict) -> str:
    """Write the card. Fields in `given.private` are named, but never with a value of theirs."""
    made = [
        f"# Model card: {_plain(origin.model)} for {_plain(origin.pipeline)}",
        _verdict(verdict),
        "## What it is",
        _table(("", ""), _facts(origin, given)),
        *_candidates(origin),
        "## How good it is",
        *_performance(given),
        "## Gates",
        _table(
            ("gate", "verdict", "why"),
            [
                *((each.name, "passed" if each.passed else "**refused**", each.message) for each in verdict.results),
                *((name, "not tried", f"It needs {why}.") for name, why in verdict.left_out.items()),
            ],
        ),
        _figures(verdict),
        *_fairness(given),
        "## Limits",
        _limits(origin, given, verdict),
    ]
    return "\n\n".join(made) + "\n"


def _verdict(verdict: Verdict) -> str:
    if verdict.passed:
        return f"**Let through**: it has passed all {len(verdict.results)} gates that were tried."
    return f"**Refused** by {', '.join(verdict.refused_by) or 'a lack of gates'}."


def _facts(origin: Origin, given: Examination) -> Iterable[tuple[str, str]]:
    classes = ", ".join(map(str, given.target.classes))
    yield "predicts", f"one of {classes}" if classes else "a number"
    for name, value in (("version", origin.version), ("trigger", origin.trigger), ("job", origin.job)):
        if value:
            yield name, f"`{value}`"
    if given.features:
        yield "features", ", ".join(f"`{name}`" for name in given.features)
    yield from ((f"parameter `{name}`", f"`{value}`") for name, value in origin.parameters.items())
    if origin.dataset:
        yield "data set", f"`{origin.dataset}`"
    yield from origin.ranges.items()
    if given.trained is not None:
        yield "rows learnt", f"{given.trained.num_rows:,}"
    yield "rows examined", f"{len(given.labels):,}"


def _candidates(origin: Origin) -> list[str]:
    if not origin.tried:
        return []
    rows = [
        (each.name, f"{each.trials:,}", "failed" if each.value is None else f"{each.value:.4f}")
        for each in origin.tried
    ]
    return ["## What was tried", _table(("candidate", "trials", "best value"), rows)]


def _performance(given: Examination) -> list[str]:
    ours = measures(given)
    if WHOLE not in ours:
        return ["It has answered no row whose label is known."]
    others = {"baseline": given.baseline}
    if given.champion is not None:
        others = {"champion": given.champion, **others}
    beside = [measures(given, scores, slices=False).get(WHOLE, {}) for scores in others.values()]
    names = list(ours[WHOLE])
    rows = [
        (
            f"**{name}**" if name == given.metric.name else name,
            _estimate(ours[WHOLE][name]),
            *(_estimate(made.get(name)) for made in beside),
        )
        for name in names
    ]
    told = f"On the newest rows whose labels are known; intervals at {given.gates.confidence:.1%} confidence."
    parts = [f"{told} **{given.metric.name}** decides.", _table(("metric", "candidate", *others), rows)]
    sliced = [(name, *map(_estimate, made.values())) for name, made in ours.items() if name != WHOLE]
    return [*parts, "### By slice", _table(("slice", *names), sliced)] if sliced else parts


def _figures(verdict: Verdict) -> str:
    rows = [
        (result.name, name, "" if np.isnan(value) else f"{value:,.6g}")
        for result in verdict.results
        for name, value in result.figures.items()
    ]
    table = _table(("gate", "figure", "value"), rows)
    return f"<details><summary>All figures</summary>\n\n{table}\n\n</details>"


def _fairness(given: Examination) -> list[str]:
    if not given.gates.sensitive or not given.answered.any():
        return []
    made = ["## Fairness"]
    for name, figures in fairness_figures(given).items():
        made += [f"### By {_plain(name)}", _differences(figures)]
        rows = [(group, *map(_share, rates)) for group, rates in figures.rates.items()]
        made.append(_table(("group", "answered so", "where true", "where not"), rows))
    return made


def _differences(figures: GroupFigures) -> str:
    said = [f"The {words} is {getattr(figures, name):.4f}." for name, words in WORDS.items()]
    if figures.too_few:
        said.append(f"Groups with too few rows to be compared: {figures.too_few}.")
    return " ".join(said)


def _limits(origin: Origin, given: Examination, verdict: Verdict) -> str:
    said = [
        "It is good for events like those examined. Whether they stay so is watched by the pipeline's drift detectors.",
        *(f"The gate {name} was not tried, for want of {why}." for name, why in verdict.left_out.items()),
        *origin.notes,
    ]
    if not given.gates.sensitive and given.target.classes:
        said.append("No sensitive field is declared, so nothing is known of its fairness.")
    if not given.gates.slices:
        said.append("No slices are declared: a part of the events may be served worse than the whole.")
    if given.private:
        names = ", ".join(f"`{name}`" for name in sorted(given.private))
        said.append(f"Private fields are never shown with values: {names}.")
    return "\n".join(f"- {line}" for line in said)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _estimate(made: Estimate | None) -> str:
    return "" if made is None or np.isnan(made.value) else str(made)


def _share(value: float) -> str:
    return "too few" if np.isnan(value) else f"{value:.1%}"


def _plain(text: str) -> str:
    """Text in one line, without signs of tables and HTML: a slice's name may be anything that events hold."""
    for sign, instead in (("|", "\\|"), ("<", "&lt;"), ("\r", " "), ("\n", " ")):
        text = text.replace(sign, instead)
    return text
