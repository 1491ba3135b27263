"""What the engine asks of a stage, and of the state that a stage keeps."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.schemas.batch import Batch, Processed


class Store(Protocol):
    """Keyed state of one partition, in columns; each key has a slot, a small number that is stable while the key lives.

    A store does no I/O. The engine asks what changed, writes it to the changelog in the same transaction as the
    outputs, and after a restart gives it back with `apply`.
    """

    def changed(self) -> NDArray[np.int64]:
        """The slots that were written since the last call, each once; forgets them."""
        ...

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `slots` still hold a key (an expired one does not)."""
        ...

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """The full state of these live slots, one row each, in the order given."""
        ...

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """Put back rows that `rows()` gave, replacing older ones of the same keys; returns their slots.

        Does not count as a change.
        """
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        ...

    def __len__(self) -> int:
        """How many keys it holds, perhaps with some that have expired but still take memory."""
        ...


class Keeper(Protocol):
    """What has state by partition."""

    name: str

    def stores(self, partition: int) -> Mapping[str, Store]:
        """The partition's keyed state by name, created empty on first use; the same names for every partition."""
        ...

    def clock(self, partition: int) -> dict[str, int]:
        """The partition's high-water marks (such as its stream time), to be written with the position."""
        ...

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Put back what `clock` gave."""
        ...

    def drop(self, partition: int) -> None:
        """Forget the partition's state: it moved to another worker, or must be restored."""
        ...


class Stage(Keeper, Protocol):
    """One step of a record's way: sanity check, feature enrichment, online inference, or the intake of labels."""

    def process(self, batch: Batch) -> Processed:
        """Decide on every row of `batch`; keyed state is read and written in log order, per partition."""
        ...
