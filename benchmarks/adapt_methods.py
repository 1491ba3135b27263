"""Every method, prequentially: row i is answered by what labels 0 … i - 1 - delay have taught, then scored."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from adapt_streams import Floats, Integers, Stream

from tidemill.processors.adaptation import Adaptation, Estimator, Kind
from tidemill.processors.adaptation.estimators import Predictor, boosted_trees, fit, logistic

LEAST_FIRST = 200
"""Labels that the first fit waits for, when the delay is as long as the beginning of the stream."""
KINDS = {"trees": boosted_trees, "linear": logistic}


@dataclass
class Outcome:
    """What a method answered, and what it cost. -1 where it had no answer."""

    answers: Integers
    cpu_s: float
    promotions: int = 0
    fits: int = 0
    alarms: list[int] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    worse: int = 0
    rollbacks: int = 0


class Fits:
    """Fits of one stream, each made once: the same rows give the same model, whoever asks.

    What a model answers to every row is computed at once and looked up by the row's bytes, as one call per row would
    be most of the benchmark. Its CPU time counts for each method that asks.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream, self.cpu_s = stream, 0.0
        self._made: dict[tuple[str, int, int], tuple[Floats, float]] = {}
        self._index: dict[bytes, int] = {}
        for i, row in enumerate(stream.rows):
            self._index.setdefault(row.tobytes(), i)

    def table(self, make: Callable[[], Any], start: int, stop: int, rows: Floats, labels: Integers) -> Floats:
        """The model's probabilities of every row of the stream."""
        key = (make.__name__, start, stop)
        if key not in self._made:
            begun = time.process_time()
            model = fit(Estimator("", make, recent=False), rows, labels, self._stream.classes)
            spent = time.process_time() - begun
            self._made[key] = model(self._stream.rows), spent
        table, spent = self._made[key]
        self.cpu_s += spent
        return table

    def __call__(
        self, estimator: Estimator, rows: Floats, labels: Integers, _: int, span: tuple[int, int]
    ) -> Predictor:
        table, index = self.table(estimator.make, *span, rows, labels), self._index
        return lambda asked: table[[index[row.tobytes()] for row in asked]]


def first_labels(stream: Stream, delay: int) -> int:
    """How many labels are there when the first row is scored."""
    return max(stream.begin - delay, LEAST_FIRST)


def no_change(stream: Stream, delay: int) -> Outcome:
    """The newest label that is known."""
    answers = np.full(len(stream.labels), -1)
    answers[delay + 1 :] = stream.labels[: -delay - 1]
    return Outcome(answers, 0.0)


def majority(stream: Stream) -> float:
    """Accuracy of the commonest class of the scored rows."""
    return float(np.bincount(stream.labels[stream.begin :]).max() / (len(stream.labels) - stream.begin))


def refitted(fits: Fits, stream: Stream, delay: int, kind: str, *, every: int | None, window: int | None) -> Outcome:
    """The first model, then one at every `every` twentieths of the stream, on the newest `window` labels or on all."""
    size, twentieth = len(stream.labels), len(stream.labels) / 20
    stops = [first_labels(stream, delay)]
    if every:
        stops += [round(j * twentieth) for j in range(2 + every, 20, every)]
    answers, fits.cpu_s = np.full(size, -1), 0.0
    for stop, following in zip(stops, [*stops[1:], size], strict=True):
        start = 0 if window is None else max(0, stop - window)
        served = slice(stop + delay, following + delay)
        if stop + delay < size:
            table = fits.table(KINDS[kind], start, stop, stream.rows[start:stop], stream.labels[start:stop])
            answers[served] = table[served].argmax(axis=1)
    begun = [stop + delay for stop in stops[1:] if stop + delay < size]
    return Outcome(answers, fits.cpu_s, promotions=len(begun), fits=len(begun) + 1, promoted=begun)


def online(make: Callable[[], Any], stream: Stream, delays: Sequence[int], *, kept: Path) -> dict[int, Outcome]:
    """A River model for all delays in one pass: what it has learnt from labels is the same for all.

    These passes are half of the benchmark and always give the same, so they are kept in a file for the next run. CPU
    seconds are of the whole pass.
    """
    size = len(stream.labels)
    if kept.exists():
        known = np.load(kept)
        if all(str(delay) in known for delay in delays) and len(known[str(delays[0])]) == size:
            return {delay: Outcome(known[str(delay)].astype(np.int64), float(known["cpu_s"])) for delay in delays}
    model, begun = make(), time.process_time()
    rows: list[dict[int, float]] = [dict(enumerate(row)) for row in stream.rows.tolist()]
    answers = {delay: np.full(size, -1) for delay in delays}
    for i, label in enumerate(stream.labels.tolist()):
        for delay in delays:
            if i + delay < size:
                answer = model.predict_one(rows[i + delay])
                answers[delay][i + delay] = -1 if answer is None else answer
        model.learn_one(rows[i], label)
    spent = time.process_time() - begun
    np.savez_compressed(kept, cpu_s=spent, **{str(delay): found.astype(np.int8) for delay, found in answers.items()})
    return {delay: Outcome(found, spent) for delay, found in answers.items()}


def shipped(fits: Fits, stream: Stream, delay: int) -> tuple[Outcome, Adaptation]:
    """The policy as `tm.AdaptiveClassifier()` has it; it is told nothing of the stream."""
    size, features = stream.rows.shape
    policy = Adaptation(features, stream.classes, fitter=fits)
    answers, fits.cpu_s = np.full(size, -1), 0.0
    begun = time.process_time()
    if delay:
        answers[:delay] = policy.predict(stream.rows[:delay]).argmax(axis=1)
    answers[delay:] = policy.interleave(
        stream.rows[delay:], stream.rows[: size - delay], stream.labels[: size - delay]
    ).argmax(axis=1)
    spent = time.process_time() - begun
    found = Outcome(answers, spent + fits.cpu_s, policy.promotions, policy.fits)
    found.alarms = [event.row for event in policy.events if event.kind is Kind.ALARM]
    changed = (Kind.PROMOTION, Kind.ROLLBACK)
    found.promoted = [event.row + delay for event in policy.events if event.kind in changed]
    found.rollbacks = sum(event.kind is Kind.ROLLBACK for event in policy.events)
    found.worse = found.rollbacks + sum(1 for figures in _judged(policy) if figures["score"] > policy.settings.margin)
    return found, policy


def _judged(policy: Adaptation) -> Iterator[dict[str, float]]:
    return (event.figures for event in policy.events if event.kind is Kind.CONFIRMATION)


def accuracy(stream: Stream, answers: Integers) -> float:
    """Of the rows from a tenth of the stream to its end."""
    return float(np.mean(answers[stream.begin :] == stream.labels[stream.begin :]))


def curve(stream: Stream, answers: Integers, points: int = 60) -> list[float]:
    """Accuracy of equal parts of the scored rows."""
    right = answers[stream.begin :] == stream.labels[stream.begin :]
    return [round(float(part.mean()), 4) for part in np.array_split(right, points)]
