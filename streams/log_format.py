"""Log records as logfmt: one line an event, whatever it says."""

import json
import logging
import time


class Logfmt(logging.Formatter):
    r"""`time=… level=… worker=… logger=… message="…"`, with what an exception shows in one more field.

    >>> record = logging.LogRecord("tidemill.x", logging.WARNING, "", 0, 'one "and"\ntwo', (), None)
    >>> Logfmt("a-0").format(record).partition(" ")[2]
    'level=WARNING worker=a-0 logger=tidemill.x message="one \\"and\\"\\ntwo"'
    """

    converter = time.gmtime  # type: ignore[assignment]
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """One line, in UTC."""
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "worker": self._worker,
            "logger": record.name,
            "message": json.dumps(record.getMessage(), ensure_ascii=False),
        }
        if record.exc_info:
            fields["exception"] = json.dumps(self.formatException(record.exc_info), ensure_ascii=False)
        return " ".join(f"{name}={value}" for name, value in fields.items())
