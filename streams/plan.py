"""A pipeline as the engine runs it, built from a user's declaration: stages, topics and their contracts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.processors.feature_enrichment.hops import ASSEMBLY, windows_stage
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable
from tidemill.processors.online_inference.beside import SHADOW_PREDICTIONS
from tidemill.processors.online_inference.target import Target
from tidemill.processors.outcomes import LABEL_INTAKE, OUTCOMES, Outcomes
from tidemill.processors.rollout.declaration import Rollout as Policy
from tidemill.processors.stage import Stage
from tidemill.processors.training.gates.declaration import Gates
from tidemill.schemas.builtin import (
    ALERT_ACTION,
    DRIFT_ALERT,
    MODEL_EVENT,
    RETRAIN_REQUEST,
    RETRAIN_TRIGGER,
    TRAINING_JOB,
)
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, nearest
from tidemill.streams.watch import Watch

STAGES = ("sanity_check", "feature_enrichment", "online_inference")
_INPUTS = dict(zip(STAGES, ("events", "validated", "features"), strict=True))
OUTPUTS = ("validated", "features", "predictions")
"""The topics that the stages write, by suffix."""
_OUTPUTS = dict(zip(STAGES, OUTPUTS, strict=True))

ENRICHED = "enriched"
"""Where the rows of an event meet again after their hops, by suffix."""

SCORED = "scored"
"""Where predictions and labels meet by their event's id, by suffix."""
LABELLED = (LABEL_INTAKE, OUTCOMES)
"""The stages that a pipeline with labels has besides."""
_LABELLED_INPUTS = dict(zip(LABELLED, ("labels", SCORED), strict=True))
_LABELLED_OUTPUTS = dict(zip(LABELLED, (SCORED, "outcomes"), strict=True))

TRIGGER_PARTITIONS = 4
"""At most so many jobs of a pipeline run at a time."""
PRIVACY_ACCOUNT = "privacy-account"
"""What private trainings have spent, by suffix."""
DAY = 24 * 3600 * 1000
FOREVER = -1


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be: `partitions` None means as many as `P.events` has."""

    name: str
    partitions: int | None
    config: Mapping[str, str]
    purpose: str


@dataclass(frozen=True)
class TopicTable:
    """A reference table that lives in a compacted topic of one partition, so that its versions are its offsets."""

    topic: str
    contract: Contract
    table: ReferenceTable


@dataclass(frozen=True)
class Plan:
    """Everything that a worker needs to know of a pipeline. `make_stages` builds fresh stages, without state."""

    name: str
    version: str
    contracts: Mapping[str, Contract]
    """By topic suffix: events, validated, features, predictions, shadow-predictions; if declared, labels, outcomes and
    label-requests.
    """
    event_id: str
    event_key: str
    event_time: str
    target: Target
    make_stages: Callable[[], Sequence[Stage]] = field(repr=False)
    topic_tables: Sequence[TopicTable] = ()
    partitions: int = 4
    retention_ms: int = 7 * DAY
    schema_wait_seconds: float = 0
    """How long a worker waits for the schema of an event that names one which is not published."""
    model_deadline_seconds: float = 30
    """How long a model may take for a batch."""
    challenger_deadline_seconds: float = 5
    """The same of a model that is scored beside the champion: for so long it may hold the champion's answers up."""
    rollout: Policy | None = None
    """How a new model takes over by itself; None where people decide."""
    gates: Gates = field(default_factory=Gates, repr=False)
    """What a new model must pass; slices and limits of fairness are looked at in production as well."""
    publish: Sequence[str] = OUTPUTS
    """Which of `OUTPUTS` are written; what lies between two stages of one worker needs no topic."""
    description: Mapping[str, object] = field(default_factory=dict, repr=False)
    hops: Sequence[str] = ()
    """The fields, other than the events' key, that windows are kept by: each costs one internal topic."""
    late_tables: Sequence[str] = ()
    """The topic tables that are looked up by what windows make."""
    make_outcomes: Callable[[], Outcomes] | None = field(default=None, repr=False)
    """Builds what joins labels, without state; None where no labels are declared."""
    idle_seconds: float = 0.2
    """How long a partition of events must have been quiet before windows on other keys go on without it."""
    profile_window: int | None = None
    """How many microseconds of event time a window of P.profiles has; None where there are no profiles."""
    hash_keys: Callable[[Sequence[bytes | None]], list[bytes | None]] | None = field(default=None, repr=False)
    """Makes records' keys of events' keys where these are private; None where they are not."""
    private: bool = False
    """Whether events have private fields: then no sentence may quote what could not be read."""
    watch: Watch | None = field(default=None, repr=False)
    """How windows of events are watched for drift; None where that is not declared."""

    @property
    def segments(self) -> tuple[tuple[str, ...], ...]:
        """The stages, in groups that may run fused; between two groups rows change their partition."""
        labelled = tuple((stage,) for stage in LABELLED) if self.make_outcomes is not None else ()
        if not self.hops:
            return (STAGES, *labelled)
        return (STAGES[:2], *((windows_stage(key),) for key in self.hops), (ASSEMBLY, STAGES[2]), *labelled)

    @property
    def stages(self) -> tuple[str, ...]:
        """Every stage by name, in order."""
        return tuple(name for segment in self.segments for name in segment)

    def tasks(self, stages: Sequence[str]) -> list[tuple[str, ...]]:
        """The stages of one worker as it runs them: each task has an input, a group and transactions of its own."""
        chosen = stage_group(stages, self.segments)
        tasks = [tuple(name for name in segment if name in chosen) for segment in self.segments]
        return [task for task in tasks if task]

    def hop_topic(self, key: str) -> str:
        """The internal topic that brings together the rows with one value of this field."""
        return self.topic(f"by-{key}")

    def topic(self, suffix: str) -> str:
        """The full name of one of the pipeline's topics."""
        return f"{self.name}.{suffix}"

    def input_of(self, stage: str) -> str:
        """The topic that a stage reads."""
        return self.topic(self._suffix_in(stage))

    def output_of(self, stage: str) -> str:
        """The topic that a stage writes."""
        return self.topic(self.suffix_out(stage))

    def _suffix_in(self, stage: str) -> str:
        between = {windows_stage(key): f"by-{key}" for key in self.hops} | {ASSEMBLY: ENRICHED} | _LABELLED_INPUTS
        return between[stage] if stage in between else _INPUTS[stage]

    def suffix_out(self, stage: str) -> str:
        """The suffix of the topic that a stage writes."""
        if stage in LABELLED:
            return _LABELLED_OUTPUTS[stage]
        if not self.hops or stage in (STAGES[0], STAGES[2]):
            return _OUTPUTS[stage]
        return OUTPUTS[1] if stage == ASSEMBLY else ENRICHED

    def input_contract(self, stage: str) -> Contract:
        """The contract of what a stage reads; internal topics have none."""
        return self.contracts[self._suffix_in(stage)]

    def output_contract(self, stage: str) -> Contract:
        """The contract of what a stage writes; internal topics have none."""
        return self.contracts[self.suffix_out(stage)]

    @property
    def published(self) -> dict[str, Contract]:
        """By topic suffix, the contracts of what others may read: the pipeline's, and what is said of its models."""
        made = {**self.contracts, "models": MODEL_EVENT}
        if self.watch is not None:
            made |= {"drift-alerts": DRIFT_ALERT, "alert-actions": ALERT_ACTION}
            if self.watch.retrain is not None:
                made |= {
                    "retrain-requests": RETRAIN_REQUEST,
                    "retrain-triggers": RETRAIN_TRIGGER,
                    "training-jobs": TRAINING_JOB,
                }
        return made

    def require_published(self, suffix: str, reader: str) -> None:
        """Raise DeclarationError if the pipeline does not write this topic, which `reader` is to read."""
        if suffix in OUTPUTS and suffix not in self.publish:
            raise DeclarationError(
                f"{reader} reads {self.topic(suffix)}, but pipeline {self.name} publishes only"
                f" {', '.join(self.publish)}: add {suffix!r} to publish=[...]"
            )

    def require_layout(self, stages: Sequence[str]) -> None:
        """Raise DeclarationError unless a worker that runs these stages finds its input and has a topic to write to."""
        for task in self.tasks(stages):
            self.require_published(self._suffix_in(task[0]), f"a worker that begins with {task[0]}")
            (segment,) = (segment for segment in self.segments if task[-1] in segment)
            if task[-1] != segment[-1]:
                after = segment[segment.index(task[-1]) + 1]
                self.require_published(self.suffix_out(task[-1]), f"a worker that begins with {after}")

    def topics(self) -> list[TopicSpec]:
        """Every topic that the pipeline writes or reads, with partitions, retention and compaction by what it holds."""
        log = {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        # An output carries an event's bytes and more; a message that came in must never be too large to go out.
        wide = log | {"max.message.bytes": str(4 * 1024 * 1024)}
        keep = {"cleanup.policy": "delete", "retention.ms": str(FOREVER), "max.message.bytes": str(4 * 1024 * 1024)}
        compact = {"cleanup.policy": "compact", "max.message.bytes": str(4 * 1024 * 1024)}
        state = compact | {"segment.bytes": str(64 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.5"}
        specs = [
            TopicSpec(self.topic("events"), self.partitions, log, "events as their producers sent them"),
            TopicSpec(self.topic("validated"), None, wide, "events that passed the sanity check"),
            TopicSpec(self.topic("features"), None, wide, "the features of each event, as served"),
            TopicSpec(self.topic("predictions"), None, wide, "the answer to each event"),
            TopicSpec(self.topic("rejected"), None, wide, "events that failed, with original bytes and reason"),
            TopicSpec(self.topic("retries"), None, compact, "which rejected events were sent again"),
            TopicSpec(self.topic("changelog"), None, state, "positions and keyed state of the stages"),
            TopicSpec(self.topic("schemas"), 1, compact, "every contract under its fingerprint"),
            TopicSpec(self.topic("models"), 1, keep, "announcements of models: the rollout log"),
            TopicSpec(self.topic(SHADOW_PREDICTIONS), None, wide, "answers of models that are compared"),
            TopicSpec(self.topic("model-artefacts"), 1, keep, "the models themselves, in chunks"),
        ]
        if "labels" in self.contracts:
            # What annotators said is weighed all together, whenever a data set is made.
            lasting = keep if "label-requests" in self.contracts else log
            specs.append(TopicSpec(self.topic("labels"), None, lasting, "labels, as they become known"))
        if self.make_outcomes is not None:
            purpose = "internal: predictions and labels by the event's id, on their way to each other"
            specs.append(TopicSpec(self.topic(SCORED), None, self._internal(min(self.retention_ms, DAY)), purpose))
            specs.append(TopicSpec(self.topic("outcomes"), None, wide, "what happened, beside what was predicted"))
        if "label-requests" in self.contracts:
            specs.append(TopicSpec(self.topic("label-requests"), self.partitions, log, "events to be labelled again"))
        specs += [TopicSpec(table.topic, 1, compact, "a reference table") for table in self.topic_tables]
        specs += self._hop_topics() + self._drift_topics()
        unwritten = {self.topic(suffix) for suffix in OUTPUTS if suffix not in self.publish}
        return [spec for spec in specs if spec.name not in unwritten]

    def _drift_topics(self) -> list[TopicSpec]:
        if self.profile_window is None:
            return []
        wide = {"max.message.bytes": str(4 * 1024 * 1024)}
        # Their order across the pipeline's partitions matters, and one control plane reads them: one partition.
        # Stamped by the broker: an event's own time would have retention delete what is still to be read.
        log = {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        profiles = log | wide | {"message.timestamp.type": "LogAppendTime"}
        compact = {"cleanup.policy": "compact"}
        # Every change of an incident can be read for as long as events can; after that, how each of them ended.
        alerts = compact | wide | {"min.compaction.lag.ms": str(max(self.retention_ms, 0))}
        state = compact | wide | {"segment.bytes": str(64 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.5"}
        made = [TopicSpec(self.topic("profiles"), 1, profiles, "what windows of events looked like, in sketches")]
        if self.watch is None:
            return made
        return [
            *made,
            *self._training_topics(log | wide, compact | wide),
            TopicSpec(self.topic("control"), 1, state, "the state of the control plane"),
            TopicSpec(self.topic("drift-alerts"), 1, alerts, "incidents: each change of one, and how it stands"),
            TopicSpec(self.topic("alert-actions"), 1, compact, "what people do about incidents: mute, acknowledge"),
        ]

    def _training_topics(self, log: Mapping[str, str], compact: Mapping[str, str]) -> list[TopicSpec]:
        if self.watch is None or self.watch.retrain is None:
            return []
        # Small and precious: why each model was made has to be known for as long as the model is.
        kept = {**log, "retention.ms": str(FOREVER), "message.timestamp.type": "LogAppendTime"}
        jobs = {**compact, "min.compaction.lag.ms": str(max(self.retention_ms, 0))}
        return [
            TopicSpec(self.topic("retrain-requests"), 1, kept, "what people ask of continuous training"),
            TopicSpec(self.topic("retrain-triggers"), TRIGGER_PARTITIONS, kept, "why a new model is wanted, or is not"),
            TopicSpec(self.topic("lineage"), 1, log, "run events of jobs, as OpenLineage has them"),
            TopicSpec(self.topic(PRIVACY_ACCOUNT), 1, kept, "what private trainings have spent, on which rows"),
            TopicSpec(self.topic("training-jobs"), 1, jobs, "how each training job stands"),
        ]

    def _hop_topics(self) -> list[TopicSpec]:
        if not self.hops:
            return []
        config = self._internal(self.retention_ms)
        # A replay finds the order of the rows on the hops; this topic is only read once.
        brief = self._internal(min(self.retention_ms, DAY))
        reason = "a hop: rows by {0}, for the windows on {0}, which is not the events' key {1}"
        return [
            *(TopicSpec(self.hop_topic(k), None, config, reason.format(k, self.event_key)) for k in self.hops),
            TopicSpec(self.topic(ENRICHED), None, brief, "where the rows and what the hops made of them meet again"),
        ]

    @staticmethod
    def _internal(retention_ms: int) -> dict[str, str]:
        # Stamped by the broker: an event's own time would have retention delete what is still to be read.
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(retention_ms),
            "message.timestamp.type": "LogAppendTime",
            "segment.bytes": str(64 * 1024 * 1024),
            "max.message.bytes": str(4 * 1024 * 1024),
        }


def stage_input(stage: str) -> str:
    """The suffix of the topic that a stage reads."""
    return _INPUTS[stage]


def stage_output(stage: str) -> str:
    """The suffix of the topic that a stage writes."""
    return _OUTPUTS[stage]


def stage_group(names: Sequence[str], segments: Sequence[tuple[str, ...]] = (STAGES,)) -> tuple[str, ...]:
    """Check that the stages can run in one worker: known, and next to each other; returns them in order.

    `segments` are the groups of stages that may be fused; a worker may have stages of several.

    >>> stage_group(["feature_enrichment", "sanity_check"])
    ('sanity_check', 'feature_enrichment')
    """
    stages = tuple(name for segment in segments for name in segment)
    for name in names:
        if name not in stages:
            raise DeclarationError(f"there is no stage {name!r}{nearest(name, stages)}")
    chosen = tuple(name for name in stages if name in names)
    for segment in segments:
        here = tuple(name for name in segment if name in chosen)
        first = segment.index(here[0]) if here else 0
        if not chosen or segment[first : first + len(here)] != here:
            raise DeclarationError(
                f"stages that run in one worker must follow each other in {', '.join(stages)}; got {', '.join(names)}"
            )
    return chosen
