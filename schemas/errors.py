"""Every error that Tidemill raises on purpose.

    TidemillError
    ├── DeclarationError      a pipeline file asks for something that cannot be; fix the file
    ├── SchemaError           an Avro schema is malformed or uses what is not supported; fix the schema
    │   └── IncompatibleSchema  a changed schema cannot read what the old one wrote; add a default, or a new topic
    ├── EncodeError           a value does not fit its contract; fix the value
    ├── ModelError            a model is missing, altered or not trusted; see the message
    ├── StateTooLarge         a worker's state has outgrown its limit; more machines, shorter windows, or a higher limit
    └── StreamError           moving events failed
        ├── BrokerError         the broker could not be started or reached; see the message
        ├── CommitAborted       a transaction was rolled back; the engine restores its state and retries
        └── Fenced              another worker took over; this one must stop

Bad *input* is not an exception: it becomes a rejection and goes on `P.rejected`.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TidemillError(Exception):
    """The root: a command prints its message and exits with `exit_code`."""

    exit_code = 2


class DeclarationError(TidemillError):
    """A pipeline asks for something that cannot be."""


class SchemaError(TidemillError):
    """An Avro schema is malformed or uses what is not supported."""


class IncompatibleSchema(SchemaError):
    """A changed schema breaks the readers or the data of the old one."""

    exit_code = 1


class EncodeError(TidemillError):
    """A value does not fit its contract."""


class ModelError(TidemillError):
    """A model is missing, altered or not trusted."""


class StateTooLarge(TidemillError):
    """The state of a worker's partitions has outgrown what it may hold; starting it again does not help."""


class ModelDeadline(ModelError):
    """A model did not answer in the time that it is given."""


class StreamError(TidemillError):
    """Moving events failed."""


class BrokerError(StreamError):
    """The broker could not be started or reached."""


class CommitAborted(StreamError):
    """A transaction was rolled back: nothing of it is visible, and its input can be read again."""


class Fenced(StreamError):
    """Another worker holds this worker's place; continuing could double events."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, as the tail of an error message.

    >>> nearest("distnace", ["distance", "origin"])
    "; did you mean 'distance'?"
    >>> nearest("zzz", ["origin", "distance"])
    '; known: distance, origin'
    """
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"
