"""A pipeline as the engine runs it, built from a user's declaration: stages, topics and their contracts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable
from tidemill.processors.online_inference.target import Target
from tidemill.processors.stage import Stage
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, nearest

STAGES = ("sanity_check", "feature_enrichment", "online_inference")
_INPUTS = dict(zip(STAGES, ("events", "validated", "features"), strict=True))
OUTPUTS = ("validated", "features", "predictions")
"""The topics that the stages write, by suffix."""
_OUTPUTS = dict(zip(STAGES, OUTPUTS, strict=True))

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
    """By topic suffix: events, validated, features, predictions, and labels if declared."""
    event_id: str
    event_key: str
    target: Target
    make_stages: Callable[[], Sequence[Stage]] = field(repr=False)
    topic_tables: Sequence[TopicTable] = ()
    partitions: int = 4
    retention_ms: int = 7 * DAY
    schema_wait_seconds: float = 0
    """How long a worker waits for the schema of an event that names one which is not published."""
    model_deadline_seconds: float = 30
    """How long a model may take for a batch."""
    publish: Sequence[str] = OUTPUTS
    """Which of `OUTPUTS` are written; what lies between two stages of one worker needs no topic."""
    description: Mapping[str, object] = field(default_factory=dict, repr=False)

    def topic(self, suffix: str) -> str:
        """The full name of one of the pipeline's topics."""
        return f"{self.name}.{suffix}"

    def input_of(self, stage: str) -> str:
        """The topic that a stage reads."""
        return self.topic(_INPUTS[stage])

    def output_of(self, stage: str) -> str:
        """The topic that a stage writes."""
        return self.topic(_OUTPUTS[stage])

    def input_contract(self, stage: str) -> Contract:
        """The contract of what a stage reads."""
        return self.contracts[_INPUTS[stage]]

    def output_contract(self, stage: str) -> Contract:
        """The contract of what a stage writes."""
        return self.contracts[_OUTPUTS[stage]]

    def require_published(self, suffix: str, reader: str) -> None:
        """Raise DeclarationError if the pipeline does not write this topic, which `reader` is to read."""
        if suffix in OUTPUTS and suffix not in self.publish:
            raise DeclarationError(
                f"{reader} reads {self.topic(suffix)}, but pipeline {self.name} publishes only"
                f" {', '.join(self.publish)}: add {suffix!r} to publish=[...]"
            )

    def require_layout(self, stages: Sequence[str]) -> None:
        """Raise DeclarationError unless a worker that runs these stages finds its input and has a topic to write to."""
        self.require_published(_INPUTS[stages[0]], f"a worker that begins with {stages[0]}")
        if stages[-1] != STAGES[-1]:
            after = STAGES[STAGES.index(stages[-1]) + 1]
            self.require_published(_OUTPUTS[stages[-1]], f"a worker that begins with {after}")

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
            TopicSpec(self.topic("model-artefacts"), 1, keep, "the models themselves, in chunks"),
        ]
        if "labels" in self.contracts:
            specs.append(TopicSpec(self.topic("labels"), self.partitions, log, "labels, as they become known"))
        specs += [TopicSpec(table.topic, 1, compact, "a reference table") for table in self.topic_tables]
        unwritten = {self.topic(suffix) for suffix in OUTPUTS if suffix not in self.publish}
        return [spec for spec in specs if spec.name not in unwritten]


def stage_input(stage: str) -> str:
    """The suffix of the topic that a stage reads."""
    return _INPUTS[stage]


def stage_output(stage: str) -> str:
    """The suffix of the topic that a stage writes."""
    return _OUTPUTS[stage]


def stage_group(names: Sequence[str]) -> tuple[str, ...]:
    """Check that the stages can run fused in one worker: known, and next to each other; returns them in order.

    >>> stage_group(["feature_enrichment", "sanity_check"])
    ('sanity_check', 'feature_enrichment')
    """
    for name in names:
        if name not in STAGES:
            raise DeclarationError(f"there is no stage {name!r}{nearest(name, STAGES)}")
    chosen = tuple(name for name in STAGES if name in names)
    first = STAGES.index(chosen[0]) if chosen else 0
    if not chosen or STAGES[first : first + len(chosen)] != chosen:
        raise DeclarationError(
            f"stages that run in one worker must follow each other in {', '.join(STAGES)}; got {', '.join(names)}"
        )
    return chosen
