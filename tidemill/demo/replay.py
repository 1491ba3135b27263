"""Sending a year of departures and arrivals in the order in which they became known."""

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from tidemill.client import Client

_STEP = 500


class Replay:
    """Two streams in one order of time: events by when they were known, labels by when they came."""

    def __init__(self, client: Client, departures: pa.Table, arrivals: pa.Table) -> None:
        self._client = client
        self._events, self._labels = departures, arrivals
        self._known = departures["known_at"].cast(pa.int64()).to_numpy()
        self._arrived = arrivals["arrived_at"].cast(pa.int64()).to_numpy()
        self.sent = 0
        self.labelled = 0

    def send(
        self, until: int, seconds: float, tick: Callable[[], None], held: Callable[[], bool] = lambda: False
    ) -> None:
        """Send what is known before `until` (epoch microseconds), spread over `seconds`; `tick` between sends.

        The year stands still while it is `held`, and that does not count.
        """
        first, end = self.sent, int(np.searchsorted(self._known, until))
        started = time.monotonic()
        while self.sent < end:
            stop = min(self.sent + _STEP, end)
            self._client.send_many(self._events.slice(self.sent, stop - self.sent))
            self.sent = stop
            self._send_labels(int(self._known[stop - 1]) if stop < end else until)
            tick()
            stopped = time.monotonic()
            while held():
                tick()
                time.sleep(0.05)
            started += time.monotonic() - stopped
            due = started + seconds * (self.sent - first) / max(1, end - first)
            while (wait := due - time.monotonic()) > 0:
                time.sleep(min(wait, 0.1))
                tick()
        self._client.flush()

    def _send_labels(self, until: int) -> None:
        end = int(np.searchsorted(self._arrived, until))
        if end > self.labelled:
            self._client.send_labels(self._labels.slice(self.labelled, end - self.labelled))
            self.labelled = end

    @property
    def day(self) -> str:
        """The day of the year that the replay has reached."""
        return str(np.datetime64(int(self._known[max(0, self.sent - 1)]), "us").astype("datetime64[D]"))
