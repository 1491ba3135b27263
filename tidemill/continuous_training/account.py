"""The account of privacy: how much each training has spent on which rows, on P.privacy-account."""

import json
from contextlib import closing

import pyarrow as pa

from tidemill.continuous_training.context import JobContext
from tidemill.processors.training.offsets import offset_ranges
from tidemill.processors.training.privacy import DifferentialPrivacy, Spending, require_budget
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import PRIVACY_ACCOUNT


def spend(job: JobContext, privacy: DifferentialPrivacy, dataset: str, rows: pa.Table) -> Spending:
    """Enter one training on these rows, and wait until that is written; an attempt that fails has spent it as well.

    Raises:
        ModelError: the budget does not allow it.
        StreamError: the account cannot be read or written; then nothing may be trained.

    """
    topic = job.pipeline.plan().topic(PRIVACY_ACCOUNT)
    with closing(KafkaReader(job.connection)) as reader:
        entries = [json.loads(record.value) for record in reader.read(topic, 0) if record.value is not None]
    made = require_budget([Spending.of(entry) for entry in entries], dataset, privacy, offset_ranges(rows))
    sender = Publisher(job.connection, "tidemill-train")
    value = json.dumps({**made.record(), "job": job.id, "attempt": job.spec["attempt"]}).encode()
    sender.send(topic, job.id.encode(), value, partition=0)
    sender.flush()
    return made
