"""All gates, one after the other, on one candidate."""

from collections.abc import Callable

from tidemill.processors.training.gates.behaviour import behaviour_gates, crash_gate
from tidemill.processors.training.gates.calibration import calibration_gate
from tidemill.processors.training.gates.comparison import baseline_gate, champion_gate, slices_gate
from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.fairness import fairness_gate
from tidemill.processors.training.gates.leakage import leakage_gate
from tidemill.processors.training.gates.provenance import newer_gate, parity_gate, rows_gate
from tidemill.processors.training.gates.trial import Trial
from tidemill.processors.training.gates.verdict import GateResult, Verdict


def examine(given: Examination) -> Verdict:
    """Try every gate that is declared and for which there is something to decide by.

    All are tried, so that a refusal names all that is wrong. With too few rows only `rows` and what needs none are
    tried. The same examination gives the same verdict, to the last bit.

    Raises:
        ModelError: labels or scores are not those of the target, or fairness is declared and fairlearn not installed.

    """
    gates, left_out = given.gates, {}
    results: list[GateResult] = [rows_gate(given)]
    enough = results[0].passed
    timed: list[tuple[str, Callable[[Examination], GateResult], bool, str]] = [
        ("newer", newer_gate, given.rows is not None and given.trained is not None, "the rows learnt"),
        ("champion", champion_gate, enough and given.champion is not None, "a champion's scores on enough rows"),
        ("baseline", baseline_gate, enough, "enough rows"),
        ("slices", slices_gate, enough, "enough rows"),
        ("fairness", fairness_gate, enough, "enough rows"),
        ("calibration", calibration_gate, enough, "enough rows"),
        ("leakage", leakage_gate, enough and given.rows is not None, "features as served of enough rows"),
        ("parity", parity_gate, given.parity is not None, "a comparison of served features with a replay"),
    ]
    declared = {
        "slices": bool(gates.slices),
        "fairness": bool(gates.sensitive),
        "calibration": gates.calibration is not None and bool(given.target.classes),
        "leakage": gates.leakage is not None,
    }
    for name, gate, possible, needed in timed:
        if not declared.get(name, True):
            continue
        if possible:
            results.append(gate(given))
        else:
            left_out[name] = needed
    unanswered = int((~given.answered).sum())
    if given.trial is not None:
        results += behaviour_gates(given.trial, gates, unanswered)
        return Verdict(tuple(results), left_out)
    left_out |= dict.fromkeys(("crash", "invariance", "latency", "memory"), "a trial run")
    if unanswered:
        results.append(crash_gate(Trial(), unanswered))
        del left_out["crash"]
    return Verdict(tuple(results), left_out)
