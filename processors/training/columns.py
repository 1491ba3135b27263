"""The columns that a data set has beside its features."""

from collections.abc import Sequence

EVENT_ID, EVENT_TIME, LABEL, LABEL_TIME, KNOWN = "event_id", "event_time", "label", "label_time", "known_time"
REVISION, DELAY, WEIGHT = "revision", "label_delay_ms", "sample_weight"
SOURCE = ("source_partition", "source_offset")
SERVED = ("model_version", "value")
"""What was answered; for classes their probabilities too, in columns `probability_CLASS`."""
PROBABILITY = "probability_"
ORDER = (LABEL_TIME, EVENT_TIME, *SOURCE)
"""The order of a data set's rows: as labels became known."""
OURS = frozenset({EVENT_ID, EVENT_TIME, LABEL, LABEL_TIME, KNOWN, REVISION, DELAY, WEIGHT, *SOURCE, *SERVED})


def column_of(feature: str, taken: Sequence[str] = ()) -> str:
    """The column of a feature: its own name, unless that is one of ours or `taken`.

    >>> column_of("distance"), column_of("value")
    ('distance', 'feature_value')
    """
    clashes = feature in OURS or feature in taken or feature.startswith(PROBABILITY)
    return f"feature_{feature}" if clashes else feature
