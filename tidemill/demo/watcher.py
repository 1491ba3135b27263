"""A subscriber that keeps score: predictions as they are committed, their latency, and how right they were."""

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
from tidemill.schemas.codec import Codec
from tidemill.streams.kafka.subscription import KafkaSubscription
from tidemill.streams.rejections import HEADERS


@dataclass
class Score:
    """What was seen so far."""

    predictions: int = 0
    rejections: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Events with a prediction or a rejection."""
        return self.predictions + self.rejections


class Watcher:
    """Follows P.predictions and P.rejected on a thread of its own, as any subscriber could."""

    def __init__(self, client: Client) -> None:
        self.score = Score()
        self.failure: BaseException | None = None
        self.latencies: list[NDArray[np.float64]] = []
        self._codec = Codec(client.contract("predictions"), client.schemas)
        self._predictions = KafkaSubscription(client.connection, f"{client.name}.predictions", "beginning")
        self._rejected = KafkaSubscription(client.connection, f"{client.name}.rejected", "beginning")
        self._frames: list[pl.DataFrame] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._take_predictions()
                self._take_rejections()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self.failure = error
        finally:
            self._predictions.close()
            self._rejected.close()

    def _take_predictions(self) -> None:
        records = self._predictions.poll(0.02, 10_000)
        if not records:
            return
        now = time.time()
        self.latencies.append(now - np.array([r.timestamp for r in records]) / 1000)
        table = self._codec.decode([r.value for r in records], [r.headers for r in records]).table
        self._frames.append(pl.DataFrame(table.select(["event_id", "model_version", "probability_true"])))
        self.score.predictions += len(records)

    def _take_rejections(self) -> None:
        for record in self._rejected.poll(0.0, 10_000):
            self.score.rejections += 1
            self.score.reasons[dict(record.headers).get(HEADERS["reason"], b"").decode()] += 1

    def answers(self, last: int | None = None) -> pl.DataFrame:
        """The predictions so far, or about the last so many."""
        frames = self._frames[:]
        if last is not None:
            kept, rows = 0, 0
            while kept < len(frames) and rows < last:
                kept += 1
                rows += len(frames[-kept])
            frames = frames[len(frames) - kept :]
        empty = pl.DataFrame(schema={"event_id": pl.String, "model_version": pl.String, "probability_true": pl.Float64})
        return pl.concat([empty, *frames])

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


def quality(answers: pl.DataFrame, labels: pl.DataFrame, base_rate: float) -> Quality | None:
    """Join predictions with labels (`event_id`, `late`); None while there is nothing to compare."""
    known = answers.filter(pl.col("model_version") != PRIOR).join(labels, on="event_id", how="inner")
    late = known["late"].to_numpy()
    if len(known) == 0 or late.all() or not late.any():
        return None
    scores = known["probability_true"].to_numpy()
    return Quality(
        labelled=len(known),
        log_loss=float(log_loss(late, scores, labels=[False, True])),
        base_log_loss=float(log_loss(late, np.full(len(late), base_rate), labels=[False, True])),
        auc=float(roc_auc_score(late, scores)),
    )
