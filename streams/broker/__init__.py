"""An Apache Kafka of one node as a child process: the real broker on a laptop, and in the tests.

>>> from pathlib import Path
>>> from tidemill.streams.broker import EmbeddedBroker
>>> with EmbeddedBroker(Path(".tidemill"), port=0) as broker:  # doctest: +SKIP
...     produce_to(broker.bootstrap_servers)
"""

from tidemill.streams.broker.embedded import BrokerStatus, EmbeddedBroker

__all__ = ["BrokerStatus", "EmbeddedBroker"]
