"""Better than the champion and than the baseline, by more than noise; no slice worse than is tolerated."""

import numpy as np

from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.groups import groups_of
from tidemill.processors.training.gates.mcnemar import mcnemar
from tidemill.processors.training.gates.metrics import Answers, Floats
from tidemill.processors.training.gates.resampling import Difference, difference
from tidemill.processors.training.gates.verdict import GateResult


def champion_gate(given: Examination) -> GateResult:
    """Whether the candidate is better than the champion by more than the declared margin, and than noise."""
    assert given.champion is not None
    return _better(given, "champion", given.champion, given.gates.margin)


def baseline_gate(given: Examination) -> GateResult:
    """Whether the candidate is better than the simple baseline by more than noise."""
    return _better(given, "baseline", given.baseline, 0.0)


def _better(given: Examination, name: str, other: Floats, margin: float) -> GateResult:
    ours, theirs, rows = given.paired(other)
    figures: dict[str, float] = {"rows": len(rows)}
    if len(rows) < given.gates.least_rows:
        said = f"Candidate and {name} have both answered only {len(rows):,} rows; at least {given.gates.least_rows:,}"
        return GateResult(name, False, figures, f"{said} are needed to compare them.")
    metric, confidence = given.metric, given.gates.confidence
    made = difference(metric, ours, theirs, confidence, given.gates.resamples, given.rng(name))
    p_value = made.p_better
    if metric.name == "accuracy":
        mine, other_right = ours.decided == ours.actual, theirs.decided == theirs.actual
        figures["only_candidate_right"] = int((mine & ~other_right).sum())
        figures[f"only_{name}_right"] = int((~mine & other_right).sum())
        figures["mcnemar_p"] = mcnemar(int(figures["only_candidate_right"]), int(figures[f"only_{name}_right"]))
        p_value = max(p_value, figures["mcnemar_p"])
    values = metric.of(ours), metric.of(theirs)
    figures |= {
        f"candidate_{metric.name}": values[0],
        f"{name}_{metric.name}": values[1],
        "gain": made.gain,
        "gain_low": made.low,
        "gain_high": made.high,
        "p_value": p_value,
        "margin": margin,
    }
    passed = p_value <= 1 - confidence and made.gain > 0 and (not margin or made.low > margin)
    return GateResult(name, passed, figures, _sentence(given, name, values, made, p_value, margin, len(rows), passed))


def _sentence(
    given: Examination,
    name: str,
    values: tuple[float, float],
    made: Difference,
    p_value: float,
    margin: float,
    rows: int,
    passed: bool,
) -> str:
    head = f"{given.metric.name} {values[0]:.4f} against the {name}'s {values[1]:.4f} on {rows:,} rows"
    sure = f"at {given.gates.confidence:.1%} confidence the gain is at least {made.low:.4f}, p {p_value:.2g}"
    if np.isnan(made.gain):
        return f"{head}: it is not defined on these rows, so nothing is shown."
    if passed:
        return f"{head}: better by more than noise ({sure})."
    if made.gain <= 0:
        return f"{head}: not better."
    if margin and p_value <= 1 - given.gates.confidence:
        return f"{head}: not better by the margin of {margin:g} ({sure})."
    return f"{head}: not better by more than noise ({sure})."


def slices_gate(given: Examination) -> GateResult:
    """Whether no declared slice is worse than tolerated.

    A slice is refused if its metric is worse by more than the tolerance, and chance does not explain that it is worse:
    a one-sided test of each slice, at a level divided by the number of all of them (Bonferroni). Models are compared
    with the champion, the first one with the baseline.
    """
    other = given.baseline if given.champion is None else given.champion
    name = "baseline" if given.champion is None else "champion"
    ours, theirs, kept = given.paired(other)
    found: list[tuple[str, float, Difference]] = []
    untested = 0
    for field, tolerance in given.gates.slices.items():
        for label, rows in groups_of(given.columns, field, given.private).items():
            places = np.flatnonzero(np.isin(kept, rows))
            made = _difference(given, label, ours.take(places), theirs.take(places))
            if made is None:
                untested += 1
            else:
                found.append((label, tolerance, made))
    level = (1 - given.gates.confidence) / max(1, len(found))
    worse = [
        (label, tolerance, made) for label, tolerance, made in found if -made.gain > tolerance and made.p_worse <= level
    ]
    figures = {f"{label}.loss": -made.gain for label, _, made in found}
    figures |= {f"{label}.p_value": made.p_worse for label, _, made in found}
    figures |= {"slices": len(found), "untested": untested, "level": level}
    few = f"; {untested} with fewer than {given.gates.least_slice} rows or no {given.metric.name} are not judged"
    few = few if untested else ""
    if worse:
        said = ", ".join(
            f"{label} by {-made.gain:.4f} ({tolerance:g} is tolerated, p {made.p_worse:.2g})"
            for label, tolerance, made in sorted(worse, key=lambda each: each[2].gain)
        )
        return GateResult("slices", False, figures, f"{given.metric.name} is worse than the {name}'s in {said}{few}.")
    said = f"None of {len(found)} slices has a {given.metric.name} worse than the {name}'s beyond tolerance and noise"
    return GateResult("slices", True, figures, f"{said}{few}.")


def _difference(given: Examination, label: str, ours: Answers, theirs: Answers) -> Difference | None:
    if len(ours.actual) < given.gates.least_slice:
        return None
    made = difference(
        given.metric, ours, theirs, given.gates.confidence, given.gates.resamples, given.rng("slices", label)
    )
    return None if np.isnan(made.gain) else made
