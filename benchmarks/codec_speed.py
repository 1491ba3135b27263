"""The codec against fastavro, on the job's payment of ten fields; microseconds of CPU per event, by turns.

Each reads and writes what its user works with: columns of an Arrow table here, a dictionary per event there.
"""

import io
import time
from collections.abc import Callable

import fastavro
import job

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas

ROWS = 10_000


def measure(rounds: int) -> dict[str, float]:
    """The best of the rounds for each, and fastavro's over ours: how many times faster the codec is."""
    contract = Contract.parse(job.PAYMENT)
    codec = Codec(contract, KnownSchemas([contract]))
    schema = fastavro.parse_schema(job.PAYMENT)
    table = job.payments(0, ROWS)
    rows = table.to_pylist()
    messages = codec.encode(table)
    datums = [message[10:] for message in messages]

    def write(row: dict[str, object]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        return out.getvalue()

    assert [write(row) for row in rows] == datums, "the codec and fastavro must write the same bytes"
    steps: dict[str, Callable[[], object]] = {
        "decode_us": lambda: codec.decode(messages),
        "encode_us": lambda: codec.encode(table),
        "fastavro_decode_us": lambda: [fastavro.schemaless_reader(io.BytesIO(datum), schema) for datum in datums],
        "fastavro_encode_us": lambda: [write(row) for row in rows],
    }
    best = {name: min(_cpu_us(step) for _ in range(rounds)) for name, step in steps.items()}
    best["decode_ratio"] = best["fastavro_decode_us"] / best["decode_us"]
    best["encode_ratio"] = best["fastavro_encode_us"] / best["encode_us"]
    return best


def _cpu_us(step: Callable[[], object]) -> float:
    before = time.process_time()
    step()
    return (time.process_time() - before) / ROWS * 1e6
