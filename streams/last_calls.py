"""Which models were being asked when this worker's process last died: a few bytes in a mapped file.

What is written to a mapped file is the operating system's at once, so it outlives a process that a model has ended by
a segmentation fault, by running out of memory, or by leaving. Without it a worker would load the same model again, be
ended again, and take the champion's answers along.
"""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
MOST_DEATHS = 3
"""After so many a model is asked no more."""
_QUIET_CALLS = 10
"""A model that has come back so often since the process was started is not what ends it."""
_ENTRIES, _BYTES = 64, 64
_STATE, _DEATHS, _KEY = 0, 1, 2
_ASKED = 1


class LastCalls:
    """A table of models, for one process at a time: which are being asked, and how often it has died meanwhile.

    A death counts against each model that was being asked then. Somebody may have killed the process by chance, so one
    death proves nothing; but a model that ends it does so again on the same events.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "calls"
    >>> calls = LastCalls(path)
    >>> calls.during("3f1c/2", lambda: "scores"), calls.deaths("3f1c/2")
    ('scores', 0)
    """

    def __init__(self, path: Path) -> None:
        """Count the deaths since it was last looked at."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.truncate(_ENTRIES * _BYTES)
            self._map = mmap.mmap(file.fileno(), _ENTRIES * _BYTES)
        self._places: dict[str, int] = {}
        self._back: dict[str, int] = {}
        for place in range(0, _ENTRIES * _BYTES, _BYTES):
            if self._map[place + _STATE] == _ASKED:
                self._map[place + _DEATHS] = min(self._map[place + _DEATHS] + 1, 255)
                self._map[place + _STATE] = 0

    def deaths(self, key: str) -> int:
        """How often the process has died while this model was being asked."""
        place = self._find(key)
        return 0 if place is None else self._map[place + _DEATHS]

    def during(self, key: str, work: Callable[[], T]) -> T:
        """What `work` returns or raises; the process may end meanwhile, and that will be known."""
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._take(key)
        self._map[place + _STATE] = _ASKED
        try:
            return work()
        finally:
            self._map[place + _STATE] = 0
            self._back[key] = self._back.get(key, 0) + 1
            if self._back[key] == _QUIET_CALLS:
                self._map[place + _DEATHS] = 0

    def _find(self, key: str) -> int | None:
        wanted = _bytes(key)
        places = range(0, _ENTRIES * _BYTES, _BYTES)
        return next((place for place in places if self._map[place + _KEY : place + _BYTES] == wanted), None)

    def _take(self, key: str) -> int:
        """The model's entry, else a free one, else that of a model that is not asked by this process."""
        found = self._find(key)
        if found is not None:
            return found
        mine = set(self._places.values())
        others = [place for place in range(0, _ENTRIES * _BYTES, _BYTES) if place not in mine]
        if not others:
            self._places.clear()
            others = [0]
        place = min(others, key=lambda place: (self._map[place + _DEATHS], self._map[place + _KEY]))
        self._map[place : place + _BYTES] = bytes(2) + _bytes(key)
        return place


def _bytes(key: str) -> bytes:
    return key.encode()[: _BYTES - _KEY].ljust(_BYTES - _KEY, b"\0")
