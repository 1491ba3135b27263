"""What events, predictions and outcomes look like, in mergeable sketches, and how far they are from a reference."""

from tidemill.processors.drift.category_sketch import CategorySketch
from tidemill.processors.drift.distances import DISTANCES, Comparison, Distance, distance_named
from tidemill.processors.drift.estimated_performance import Estimate, compare_estimate, estimate
from tidemill.processors.drift.false_discovery import benjamini_hochberg
from tidemill.processors.drift.findings import Finding, compare_profiles, compare_rejections, judged
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
from tidemill.processors.drift.rates import Rate, compare_rates
from tidemill.processors.drift.reference import Reference, reference_profiles, write_reference
from tidemill.processors.drift.slices import slices_of
from tidemill.processors.drift.summary import summary

__all__ = [
    "DISTANCES",
    "CategorySketch",
    "ClassQuality",
    "Comparison",
    "Distance",
    "Estimate",
    "Finding",
    "NumberSketch",
    "OutcomeBlock",
    "Profile",
    "Quality",
    "Rate",
    "Reference",
    "RegressionQuality",
    "Scope",
    "benjamini_hochberg",
    "can_be_profiled",
    "compare_estimate",
    "compare_profiles",
    "compare_rates",
    "compare_rejections",
    "distance_named",
    "estimate",
    "from_record",
    "from_table",
    "judged",
    "merge_all",
    "profile_of",
    "profile_of_outcomes",
    "profile_of_predictions",
    "quality_of",
    "reference_profiles",
    "slices_of",
    "summary",
    "to_record",
    "to_table",
    "write_reference",
]
