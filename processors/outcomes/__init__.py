"""What happened, beside what was predicted: labels that come late, early, twice, changed, or for nobody.

intake       label records in, checked labels out
policy       what is done with labels that are not as expected, and for how long anything waits
pieces       rows of numbers, each in as few bytes as it needs
cells        rows of a schema
ids          one slot for each event id
ageing       what is old enough to be forgotten
predictions  the store of predictions that wait
answers      the store of labels that count
early        the store of labels without a prediction
join         what comes of a batch of both
tally        counts, delays, and how complete a day is
profiling    what a batch adds to the profiles of windows
stage        the columns, and the state of each partition
"""

from tidemill.processors.outcomes.intake import LABEL_INTAKE, LabelFields, LabelIntake
from tidemill.processors.outcomes.policy import Horizon, Policies
from tidemill.processors.outcomes.profiling import Profiler, ProfileWindows
from tidemill.processors.outcomes.stage import OUTCOMES, Outcomes

__all__ = [
    "LABEL_INTAKE",
    "OUTCOMES",
    "Horizon",
    "LabelFields",
    "LabelIntake",
    "Outcomes",
    "Policies",
    "ProfileWindows",
    "Profiler",
]
