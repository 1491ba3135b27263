"""Computing columns so that a row can spoil only itself."""

from collections.abc import Callable

import polars as pl

FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises when values do not suit an operation; the second one when it finds a fault in itself."""

Compute = Callable[[pl.DataFrame], pl.DataFrame]


def isolate(compute: Compute, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, str]]:
    """What `compute` makes of the rows that it can take, in order; and by row, why it cannot take the others.

    `compute` must treat each row by itself. Where it raises, the rows are halved until those that make it raise stand
    alone, so that the outcome of a row and its message do not depend on its neighbours.
    """
    try:
        return compute(frame), {}
    except FAILURES:
        pass
    computed: list[pl.DataFrame] = []
    failed: dict[int, str] = {}
    todo = [(0, frame.height)]
    while todo:
        start, stop = todo.pop()
        try:
            computed.append(compute(frame[start:stop]))
        except FAILURES as error:
            if stop - start <= 1:
                failed[start] = str(error).partition("\n")[0]
            else:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
    return (pl.concat(computed) if computed else compute(frame.clear())), failed
