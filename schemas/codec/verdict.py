"""What a codec says about each message that it was given."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Reason(StrEnum):
    """Why a message could not be read: a closed set, for metrics and rejections."""

    EMPTY_VALUE = "empty_value"
    UNKNOWN_FRAMING = "unknown_framing"
    UNKNOWN_SCHEMA = "unknown_schema"
    INCOMPATIBLE_SCHEMA = "incompatible_schema"
    UNDECODABLE = "undecodable"
    INVALID_UTF8 = "invalid_utf8"
    SURPLUS_BYTES = "surplus_bytes"


@dataclass(frozen=True)
class BadMessage:
    """A message that could not be read.

    `row` is its position in the input; `message` is a sentence that says what was expected, what came and what to do.
    """

    row: int
    reason: Reason
    message: str


@dataclass(frozen=True)
class Decoded:
    """A batch read: every message of the input is in `rows` or in `bad`, never in both; both are in order.

    `table` has the reader's Arrow schema exactly, one row per accepted message; `rows` are their positions in the
    input.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    bad: tuple[BadMessage, ...]
