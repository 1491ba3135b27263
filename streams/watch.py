"""How a pipeline's windows are watched for drift, as declared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidemill.processors.drift import Profile
from tidemill.processors.drift.incidents import IncidentPolicy, Incidents
from tidemill.processors.drift.profile import Kind
from tidemill.processors.drift.sequences import Sequences
from tidemill.processors.drift.verdict import Judge
from tidemill.processors.drift.windows import Windows
from tidemill.processors.retraining import Retrain, RetrainPolicy
from tidemill.streams.control_state import ControlState
from tidemill.streams.profile_log import pack, unpack

References = Callable[[str], Mapping[tuple[Kind, str], Profile]]
"""The reference profiles of a model version, by kind and slice; none if it has none."""


@dataclass(frozen=True)
class Watch:
    """When windows are complete, who judges them, and when an incident is told of.

    `grace_ms` is how long after a window's end its profiles are waited for, in event time and by kind of profile. After
    `idle_ms` without a profile a partition is not waited for; with None it always is.
    """

    grace_ms: Mapping[str, int]
    idle_ms: int | None
    make_judge: Callable[[References], Judge[Profile]]
    incidents: IncidentPolicy = field(default_factory=IncidentPolicy)
    retrain: Retrain | None = None
    """When alerts and labels lead to a new model; None where they do not."""


def make_state(
    pipeline: str,
    watch: Watch,
    partitions: int,
    references: References,
    served: Callable[[], bool] = lambda: False,
) -> ControlState[Profile]:
    """A control plane's state, fresh; as many tasks as `partitions` hear of all of these.

    `served` says whether a model has been announced to answer.
    """
    windows: Windows[Profile] = Windows(partitions**2, watch.grace_ms, watch.idle_ms)
    sequences = Sequences(partitions, watch.idle_ms)
    incidents = Incidents(pipeline, watch.incidents)
    retrain = None if watch.retrain is None else RetrainPolicy(pipeline, watch.retrain, served)
    return ControlState(windows, sequences, incidents, watch.make_judge(references), pack, unpack, retrain)
