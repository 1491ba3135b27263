"""What events, predictions and outcomes look like, in mergeable sketches, and how far they are from a reference."""

from tidemill.processors.drift.category_sketch import CategorySketch
from tidemill.processors.drift.number_sketch import NumberSketch
from tidemill.processors.drift.profile import (
    OutcomeBlock,
    Profile,
    Scope,
    can_be_profiled,
    merge_all,
    profile_of,
    profile_of_outcomes,
    profile_of_predictions,
)
from tidemill.processors.drift.profile_record import from_record, from_table, to_record, to_table
from tidemill.processors.drift.quality import ClassQuality, Quality, RegressionQuality, quality_of

__all__ = [
    "CategorySketch",
    "ClassQuality",
    "NumberSketch",
    "OutcomeBlock",
    "Profile",
    "Quality",
    "RegressionQuality",
    "Scope",
    "can_be_profiled",
    "from_record",
    "from_table",
    "merge_all",
    "profile_of",
    "profile_of_outcomes",
    "profile_of_predictions",
    "quality_of",
    "to_record",
    "to_table",
]
