import io
import json
import logging

from tidemill.streams.log_format import Logfmt


def test_one_line_an_event_with_its_traceback():
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(Logfmt("w-0"))
    log = logging.Logger("tidemill.test")
    log.addHandler(handler)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("batch %d failed", 3)
    (line,) = out.getvalue().splitlines()
    time, rest = line.split(" ", 1)
    assert time.startswith("time=")
    assert time.endswith("Z")
    assert rest.startswith('level=ERROR worker=w-0 logger=tidemill.test message="batch 3 failed" exception="')
    assert "two\nlines" in json.loads(rest.partition("exception=")[2])
