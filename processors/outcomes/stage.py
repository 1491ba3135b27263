"""The stage that makes outcomes: its columns, and what it keeps of each partition."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tidemill.processors.drift.profile import Profile
from tidemill.processors.online_inference.target import Target
from tidemill.processors.outcomes.ageing import NEVER, SPARE
from tidemill.processors.outcomes.answers import LABEL, REVISION
from tidemill.processors.outcomes.early import LABEL_TIME
from tidemill.processors.outcomes.join import ANNOTATOR, CONFIDENCE, Joined, PartitionJoin
from tidemill.processors.outcomes.policy import Horizon, Policies
from tidemill.processors.outcomes.predictions import EVENT_ID, EVENT_TIME, SENT, SOURCE_OFFSET, SOURCE_PARTITION
from tidemill.processors.outcomes.profiling import Profiler, ProfileWindows
from tidemill.processors.stage import Store

OUTCOMES = "outcomes"
DELAY = "label_delay_ms"
_REACHED = "reached."
_TIME = pa.timestamp("us", "UTC")
_SOURCE = (
    pa.field(SOURCE_PARTITION, pa.int32(), nullable=False),
    pa.field(SOURCE_OFFSET, pa.int64(), nullable=False),
)
_AROUND = (EVENT_ID, EVENT_TIME, "model_version", "value", LABEL, LABEL_TIME, DELAY, REVISION, CONFIDENCE, ANNOTATOR)
_RESERVED = (SENT, "event_key", "features", "probabilities", "label_delay")


class Outcomes:
    """Keyed state and columns of the outcomes stage; its task gives it rows of P.scored and writes what comes."""

    name = OUTCOMES

    def __init__(
        self,
        features: Sequence[pa.Field],
        target: Target,
        horizon: Horizon,
        policies: Policies,
        *,
        revised: bool,
        timed: bool,
        profiled: tuple[str, ProfileWindows, Sequence[str]] | None = None,
        spare: int = SPARE,
    ) -> None:
        """`features` are those that outcomes carry, `revised` is as in `PartitionJoin`, `timed` labels name their time.

        `profiled` gives the pipeline's name, the windows of profiles and the features in them, if there are any.

        Where they do not, delays are counted from when the event's record was sent to when the label's was: its event
        may be years old, as in a replay.
        """
        self.timed = timed
        self._target, self._horizon, self._policies = target, horizon, policies
        self._revised, self._spare = revised, spare
        taken = {*_AROUND, *_RESERVED, *target.columns(), *(f.name for f in _SOURCE)}
        # A feature that has a name of ours goes by another one.
        self._names = {
            f.name: f"feature_{f.name}" if f.name in taken or f.name.startswith("probability_") else f.name
            for f in features
        }
        self._profiler = None
        if profiled is not None:
            name, windows, profiled_features = profiled
            self._profiler = Profiler(name, windows, profiled_features, self._names, target)
        carried = [pa.field(self._names[f.name], f.type) for f in features]
        scores = [pa.field(name, pa.float64(), nullable=False) for name in target.columns()]
        predicted = [
            pa.field("model_version", pa.string(), nullable=False),
            pa.field("value", target.value_type(), nullable=False),
            *scores,
        ]
        said = [
            pa.field(LABEL, target.value_type(), nullable=False),
            pa.field(LABEL_TIME, _TIME, nullable=False),
            pa.field(DELAY, pa.int64(), nullable=False),
            pa.field(REVISION, pa.int64(), nullable=False),
            pa.field(CONFIDENCE, pa.float64()),
            pa.field(ANNOTATOR, pa.string()),
        ]
        identity = [pa.field(EVENT_ID, pa.string(), nullable=False), pa.field(EVENT_TIME, _TIME, nullable=False)]
        self.schema = pa.schema([*identity, *carried, *predicted, *said, *_SOURCE])
        """The columns of P.outcomes."""
        # Features may have been added since a row was written, so they may be null there.
        sent = [] if timed else [pa.field(SENT, pa.int64())]
        self._waiting = pa.schema([pa.field(EVENT_TIME, pa.int64()), *sent, *_SOURCE, *carried, *predicted])
        self.scored = pa.schema([pa.field(EVENT_ID, pa.string(), nullable=False), *self._waiting])
        """The columns of a prediction on P.scored."""
        kinds = str([(f.name, str(f.type)) for f in predicted])
        self._meaning = hashlib.sha256(kinds.encode()).hexdigest()[:8]
        self._joins: dict[int, PartitionJoin] = {}

    def name_of(self, feature: str) -> str:
        """What a feature is called in P.scored and P.outcomes."""
        return self._names[feature]

    @property
    def told_every(self) -> int:
        """How far events may move, in microseconds, before partitions without any are told."""
        return max(self._horizon.kept // 64, 1)

    def carries(self, feature: str) -> bool:
        """Whether a feature goes along."""
        return feature in self._names

    def of(self, partition: int) -> PartitionJoin:
        """A partition's state, made empty on first use."""
        if partition not in self._joins:
            self._joins[partition] = PartitionJoin(
                self._waiting,
                self._target.value_type(),
                self._horizon,
                self._policies,
                revised=self._revised,
                spare=self._spare,
            )
        return self._joins[partition]

    def profiles(self, joined: Joined) -> list[Profile]:
        """What the batch adds to the profiles of windows, if they are declared."""
        if self._profiler is None:
            return []
        first = joined.outcomes.filter(pa.array(joined.is_first)).drop_columns([f"@{REVISION}"])
        first = first.rename_columns([name.removeprefix("@") for name in first.column_names])
        return [*self._profiler.of_predictions(joined.predicted), *self._profiler.of_outcomes(first)]

    def reached(self, partition: int) -> dict[int, int]:
        """By partition of events the greatest event time of a partition's predictions, in milliseconds."""
        return {source: time // 1_000 for source, time in self.of(partition).reached.items()}

    def outcomes(self, joined: Joined) -> pa.Table:
        """What was joined in the columns of P.outcomes."""
        table = joined.outcomes
        said = {name: table[f"@{name}"] for name in (LABEL, REVISION, CONFIDENCE, ANNOTATOR)}
        since, labelled = table[EVENT_TIME if self.timed else SENT].to_numpy(), table[f"@{LABEL_TIME}"].to_numpy()
        made = {EVENT_TIME: table[EVENT_TIME].to_numpy(), LABEL_TIME: labelled, DELAY: (labelled - since) // 1_000}
        columns = []
        for field in self.schema:
            if field.name in made:
                columns.append(pa.array(made[field.name]).cast(field.type))
            else:
                columns.append((said[field.name] if field.name in said else table[field.name]).cast(field.type))
        return pa.table(columns, schema=self.schema)

    def stores(self, partition: int) -> Mapping[str, Store]:
        """What waits, and the labels that count."""
        join = self.of(partition)
        made: dict[str, Store] = {"predictions": join.predictions, "answers": join.answers, "early": join.early}
        return {f"{name}-{self._meaning}": store for name, store in made.items()}

    def clock(self, partition: int) -> dict[str, int]:
        """How far events are, and what was counted."""
        join = self.of(partition)
        held = {
            "held.predictions": len(join.predictions),
            "held.answers": len(join.answers),
            "held.early": join.early.waiting,
        }
        reached = {f"{_REACHED}{source}": time for source, time in join.reached.items()}
        return {"time": join.clock, **reached, **held, **join.tally.numbers()}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Put back what `clock` gave; the stores are complete by now."""
        join = self.of(partition)
        join.clock = clock.get("time", NEVER)
        join.reached = {int(name.removeprefix(_REACHED)): at for name, at in clock.items() if name.startswith(_REACHED)}
        join.tally.restore(clock)
        join.restored()

    def drop(self, partition: int) -> None:
        """Forget the partition."""
        self._joins.pop(partition, None)
