"""A subscriber that keeps score: predictions as they are committed, their latency, what became of them, and alerts."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from tidemill.client import Client
from tidemill.processors.online_inference.stage import PRIOR
from tidemill.results import Alert, RetrainTrigger, TrainingJob
from tidemill.schemas.codec import Codec
from tidemill.streams.alerts import ALERTS, decode_alerts
from tidemill.streams.kafka.subscription import KafkaSubscription
from tidemill.streams.rejections import StoredRejection
from tidemill.streams.retraining import JOBS, TRIGGERS, decode_jobs, decode_triggers

_SHOWN = ("event_id", "event_time", "model_version", "probability_true", "label")


@dataclass
class Score:
    """What was seen so far; `reasons` are those of rejected events, `labels` those of rejected labels."""

    predictions: int = 0
    rejections: int = 0
    outcomes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Events with a prediction or a rejection."""
        return self.predictions + self.rejections


class Watcher:
    """Follows predictions, rejections, outcomes and alerts on a thread of its own, as any subscriber could."""

    def __init__(self, client: Client) -> None:
        self.score = Score()
        self.failure: BaseException | None = None
        self.latencies: list[NDArray[np.float64]] = []
        self.incidents: dict[str, Alert] = {}
        """Each incident as it stands, in the order in which they opened."""
        self.triggers: dict[str, RetrainTrigger] = {}
        self.jobs: dict[str, TrainingJob] = {}
        self._events = f"{client.name}.events"
        self._codec = Codec(client.contract("outcomes"), client.schemas)
        self._topics = {
            suffix: KafkaSubscription(client.connection, f"{client.name}.{suffix}", "beginning")
            for suffix in ("predictions", "rejected", "outcomes", ALERTS, TRIGGERS, JOBS)
        }
        self._frames: list[pl.DataFrame] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._take_predictions()
                self._take_rejections()
                self._take_outcomes()
                self._take_alerts()
                self._take_jobs()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self.failure = error
        finally:
            for topic in self._topics.values():
                topic.close()

    def _take_predictions(self) -> None:
        records = self._topics["predictions"].poll(0.02, 10_000)
        if records:
            now = time.time()
            self.latencies.append(now - np.array([r.timestamp for r in records]) / 1000)
            self.score.predictions += len(records)

    def _take_rejections(self) -> None:
        for record in self._topics["rejected"].poll(0.0, 10_000):
            rejection = StoredRejection.of(record)
            if rejection.topic == self._events:
                self.score.rejections += 1
                self.score.reasons[rejection.reason] += 1
            else:
                self.score.labels[rejection.reason] += 1

    def _take_outcomes(self) -> None:
        records = self._topics["outcomes"].poll(0.0, 10_000)
        if records:
            table = self._codec.decode([r.value for r in records], [r.headers for r in records]).table
            self._frames.append(pl.DataFrame(table.select(_SHOWN)))
            self.score.outcomes += len(records)

    def _take_alerts(self) -> None:
        for row in decode_alerts([record.value for record in self._topics[ALERTS].poll(0.0, 1_000)]):
            self.incidents[row["id"]] = Alert(**row)

    def _take_jobs(self) -> None:
        for trigger in decode_triggers([record.value for record in self._topics[TRIGGERS].poll(0.0, 1_000)]):
            if trigger is not None:
                self.triggers[trigger["id"]] = RetrainTrigger(**trigger)
        for job in decode_jobs([record.value for record in self._topics[JOBS].poll(0.0, 1_000)]):
            if job is not None:
                self.jobs[job["id"]] = TrainingJob.from_row(job)

    def outcomes(self, last: int | None = None) -> pl.DataFrame:
        """What happened so far beside what was predicted, or about the last so many."""
        frames = self._frames[:]
        if last is not None:
            kept, rows = 0, 0
            while kept < len(frames) and rows < last:
                kept += 1
                rows += len(frames[-kept])
            frames = frames[len(frames) - kept :]
        kinds = (pl.String, pl.Datetime("us", "UTC"), pl.String, pl.Float64, pl.Boolean)
        return pl.concat([pl.DataFrame(schema=dict(zip(_SHOWN, kinds, strict=True))), *frames])

    def latency_ms(self, since: int = 0) -> tuple[float, float]:
        """Median and 99th percentile in milliseconds, from the `since`-th poll on."""
        seen = self.latencies[since:]
        if not seen:
            return float("nan"), float("nan")
        median, high = np.percentile(np.concatenate(seen), [50, 99]) * 1000
        return float(median), float(high)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()


@dataclass(frozen=True)
class Quality:
    """Of the trained models' predictions whose label is known; the guess always answers the base rate it was given."""

    labelled: int
    log_loss: float
    base_log_loss: float
    auc: float


def quality(outcomes: pl.DataFrame, base_rate: float) -> Quality | None:
    """Of the trained models' predictions; None while there is nothing to compare."""
    known = outcomes.filter(pl.col("model_version") != PRIOR)
    late = known["label"].to_numpy()
    if len(known) == 0 or late.all() or not late.any():
        return None
    scores = known["probability_true"].to_numpy()
    return Quality(
        labelled=len(known),
        log_loss=float(log_loss(late, scores, labels=[False, True])),
        base_log_loss=float(log_loss(late, np.full(len(late), base_rate), labels=[False, True])),
        auc=float(roc_auc_score(late, scores)),
    )
