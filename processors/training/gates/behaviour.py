"""How the candidate behaves where it would serve: does it answer everything, always alike, quickly, in little room."""

from collections.abc import Callable

from tidemill.processors.training.gates.declaration import Gates
from tidemill.processors.training.gates.trial import Trial
from tidemill.processors.training.gates.verdict import GateResult


def crash_gate(trial: Trial, unanswered: int = 0) -> GateResult:
    """Whether it answers every mature row, and rows with nulls, unseen categories and outermost numbers.

    `unanswered` of the examined rows have no score.
    """
    figures = {
        "unanswered": unanswered,
        "scored": trial.scored,
        "failed": trial.failed,
        "extremes": trial.extremes,
        "extremes_failed": trial.extremes_failed,
    }
    if trial.failure:
        return GateResult("crash", False, figures, f"The trial run came to no end: {trial.failure}.")
    if unanswered:
        return GateResult("crash", False, figures, f"It has no finite answer to {unanswered:,} of the rows examined.")
    asked = f"{trial.scored:,} rows as served and {trial.extremes:,} with extremes"
    if trial.failed or trial.extremes_failed:
        said = f"It fails on {trial.failed:,} and {trial.extremes_failed:,} of {asked}: {trial.complaint}"
        return GateResult("crash", False, figures, said.rstrip(".") + ".")
    return GateResult("crash", trial.scored > 0, figures, f"It answers {asked}, all with finite numbers.")


def invariance_gate(trial: Trial) -> GateResult:
    """Whether a row's score is the same bits in whatever company and order it is scored."""
    figures = {"compared": trial.compared, "differing": trial.differing}
    said = f"{trial.differing:,} of {trial.compared:,} scores differ from those of the same row in other company."
    if not trial.differing:
        said = f"{trial.compared:,} scores are equal, bit for bit, to those of the same row in other company."
    return GateResult("invariance", trial.compared > 0 and not trial.differing, figures, said)


def latency_gate(trial: Trial, gates: Gates) -> GateResult:
    """Whether loading, one event alone, and a batch take no longer than declared."""
    timed: list[tuple[str, str, float, float | None]] = [
        ("load_ms", "loading takes", trial.load_ms, gates.load_ms),
        ("row_p99_ms", "one event alone takes", trial.row_p99_ms, gates.latency_ms),
        (
            "batch_p99_ms",
            f"a batch of {trial.batch_rows:,} takes",
            trial.batch_p99_ms,
            gates.batch_ms,
        ),
    ]
    figures = {name: value for name, _, value, _ in timed}
    figures |= {f"{name}_limit": limit for name, _, _, limit in timed if limit is not None}
    slow = [each for each in timed if each[3] is not None and each[2] > each[3]]
    if trial.failure:
        return GateResult("latency", False, figures, f"It could not be timed: {trial.failure}.")
    return GateResult("latency", not slow, figures, _timed(slow or timed, bool(slow)))


def _timed(timed: list[tuple[str, str, float, float | None]], slow: bool) -> str:
    said = ", ".join(
        f"{words} {value:,.1f} ms" + ("" if limit is None else f" (limit {limit:,g})")
        for _, words, value, limit in timed
    )
    return f"{'Too slow' if slow else 'Quick enough'}: {said}; 99th percentiles."


def memory_gate(trial: Trial, gates: Gates) -> GateResult:
    """Whether it needs no more memory than declared."""
    assert gates.memory_mb is not None
    figures = {"memory_mb": trial.memory_mb, "limit_mb": gates.memory_mb}
    said = f"Loading and scoring add {trial.memory_mb:,.0f} MiB to a process (limit {gates.memory_mb:,g})"
    if trial.failure:
        return GateResult("memory", False, figures, f"{said} as far as the run came: {trial.failure}.")
    return GateResult("memory", trial.memory_mb <= gates.memory_mb, figures, f"{said}.")


def behaviour_gates(trial: Trial, gates: Gates, unanswered: int = 0) -> list[GateResult]:
    """All that a trial shows. After a run that came to no end, only `crash` says so: nothing else was measured."""
    if trial.failure:
        return [crash_gate(trial, unanswered)]
    made: list[Callable[[], GateResult]] = [
        lambda: crash_gate(trial, unanswered),
        lambda: invariance_gate(trial),
        lambda: latency_gate(trial, gates),
    ]
    if gates.memory_mb is not None:
        made.append(lambda: memory_gate(trial, gates))
    return [gate() for gate in made]
