"""Compiles what each of the demo's processes would compile when it first needs it: `python -m tidemill.demo.prepare`.

Some weeks of flights go through the pipeline in memory. What numba makes of the kernels is kept beside their source,
or in NUMBA_CACHE_DIR. Nothing depends on it but how long the first start takes.
"""

from datetime import UTC, datetime

from tidemill.testing import Driver

PIPELINE = "tidemill.examples.flights.pipeline"
WEEK = 6_000


def prepare() -> int:
    """Send January and its labels, train, and send what came then; returns how many predictions were made."""
    from tidemill.examples.flights.data import arrivals, departures

    january, february = departures([1]), departures([2])
    driver = Driver(PIPELINE, partitions=1, now=datetime(2014, 1, 1, tzinfo=UTC))
    driver.send(january)
    driver.send_labels(arrivals([1]))
    driver.run()
    driver.train(force=True)
    driver.send(february[: 2 * WEEK])
    driver.send_labels(arrivals([2])[:WEEK])
    driver.run()
    driver.alerts()
    return len(driver.predictions())


if __name__ == "__main__":
    prepare()
