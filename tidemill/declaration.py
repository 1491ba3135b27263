"""The parts of a pipeline that name contracts: events, labels, the model, reference tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tidemill.annotators import Annotators
from tidemill.processors.duration import duration
from tidemill.processors.frames import to_polars
from tidemill.processors.learning import Learning, for_classes
from tidemill.processors.online_inference.target import ClassLabel, Target
from tidemill.processors.outcomes import Horizon, LabelFields, Policies, ProfileWindows
from tidemill.processors.sanity_check.private_fields import Hashed, PrivateFields
from tidemill.processors.sanity_check.stage import NanPolicy
from tidemill.processors.training.candidates import Candidate, all_candidates
from tidemill.processors.training.privacy import DifferentialPrivacy
from tidemill.processors.training.scoring import metric_of
from tidemill.schemas.contract import Contract
from tidemill.schemas.derived import GUIDELINES_FIELD
from tidemill.schemas.errors import DeclarationError, nearest

_LONGEST_SCHEMA_WAIT = 60
_LONGEST_DEADLINE = 60
_SHORTEST_WINDOW = 1_000_000
ContractLike = Contract | Path | str | Mapping[str, Any]


def as_contract(given: ContractLike, base: Path) -> Contract:
    """A contract as it is, from a file (relative to `base`), or from a schema written out as a mapping."""
    if isinstance(given, Contract):
        return given
    if isinstance(given, Mapping):
        return Contract.parse(given)
    return Contract.load(base / given)


def refuse_private(contract: Contract, what: str) -> None:
    """Raise DeclarationError if a contract other than the events' has private fields: nothing would hide them."""
    for field in contract.fields:
        if field.private:
            raise DeclarationError(
                f"{contract.name}.{field.name} is private, and {what} cannot have private fields, only events can:"
                " leave it out, or send a keyed hash"
            )


@dataclass(frozen=True)
class Events:
    """What comes in: its contract, and which fields are its key, its time and its id.

    `contract` is an .avsc file (relative to the pipeline file), a `Contract`, or the schema as a dict. `key` decides
    the partition, and so what windows are kept by. `nan` says what NaN and infinity mean: "reject", "null" or
    "allow". `schema_wait`, a minute at most, is how long an event that names an unknown schema is held until that is
    published; then it is rejected.

    `private` names fields that only the sanity check may see, beside those that the contract marks with
    `"private": true`: later stages have none of them, or a keyed hash of those given as `hashed("card")` and of a
    private key.
    """

    contract: ContractLike
    key: str
    time: str
    id: str
    nan: NanPolicy = "reject"
    schema_wait: str | timedelta = "2s"
    private: Sequence[str | Hashed] = ()

    def private_fields(self, contract: Contract) -> PrivateFields:
        """The contract's private fields and those declared; raises DeclarationError if one cannot be."""
        return PrivateFields.of(contract, self.private, key=self.key, fixed=(self.id, self.time))

    @property
    def schema_wait_seconds(self) -> float:
        """The wait for an unknown schema."""
        return duration(self.schema_wait) / 1e6

    def check(self, contract: Contract) -> None:
        """Raise DeclarationError or SchemaError unless the fields can serve."""
        for role, name in (("key", self.key), ("time", self.time), ("id", self.id)):
            field = contract.field(name)
            if role != "key" and field.nullable:
                raise DeclarationError(f"{contract.name}.{name} is the events' {role} and must not be nullable")
        if not pa.types.is_timestamp(contract.arrow.field(self.time).type):
            kind = contract.arrow.field(self.time).type
            raise DeclarationError(f"{contract.name}.{self.time} is the events' time: expected a timestamp, got {kind}")
        for name in (self.key, self.id):
            kind = contract.arrow.field(name).type
            if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
                raise DeclarationError(
                    f"{contract.name}.{name}: expected text or an integer for a key or id, got {kind}"
                )
        if self.nan not in ("reject", "null", "allow"):
            raise DeclarationError(f"nan must be 'reject', 'null' or 'allow', not {self.nan!r}")
        if self.schema_wait_seconds > _LONGEST_SCHEMA_WAIT:
            raise DeclarationError(
                f"schema_wait holds a partition back: expected at most {_LONGEST_SCHEMA_WAIT} s, got"
                f" {self.schema_wait!r}"
            )


@dataclass(frozen=True)
class Labels:
    """What comes later: its contract, which field is the event's id, and the label as an expression over its fields.

    `classes` are the possible labels; they may be left out for a boolean label (False and True) and for a number
    (regression). A null label says nothing about its event. `within` is how long after the event a label may be dated;
    its prediction waits for `grace` longer, for labels that are under way.

    `time`, `annotator`, `confidence` and `revision` name fields, if there are any: when the label became known, who
    gave it, how sure they are from 0 to 1, and which of an event's labels is the last (else the one that comes last).
    Without `time`, `within` is counted from when the event was sent to when the label was, by their records.
    `annotators` says how several labels of one event are brought to one.

    The policies say what is done with a label that comes `early`, before its prediction ("wait", "reject" or "drop"),
    `late`, dated after the horizon ("reject", "join", "drop"), `changed` ("revise", "reject", "drop"), or for an
    `unknown` id ("reject", "drop"). Dropped ones are counted, as all of them are.
    """

    contract: ContractLike
    id: str
    label: pl.Expr
    within: str | timedelta = "7d"
    classes: Sequence[ClassLabel] | None = None
    time: str | None = None
    annotator: str | None = None
    confidence: str | None = None
    revision: str | None = None
    early: str = "wait"
    late: str = "reject"
    changed: str = "revise"
    unknown: str = "reject"
    grace: str | timedelta = "1h"
    annotators: Annotators | None = None

    @property
    def policies(self) -> Policies:
        """What is done with labels that are not as expected; raises DeclarationError."""
        return Policies(self.early, self.late, self.changed, self.unknown)

    @property
    def horizon(self) -> Horizon:
        """How long labels may take, and for how long they are waited for; raises DeclarationError."""
        return Horizon(duration(self.within), duration(self.grace))

    @property
    def fields(self) -> LabelFields:
        """Where in a label to find what."""
        return LabelFields(self.id, self.label, self.time, self.annotator, self.confidence, self.revision)

    def check(self, contract: Contract) -> None:
        """Raise DeclarationError or SchemaError unless the fields can serve."""
        refuse_private(contract, "labels")
        assert (self.policies, self.horizon) is not None
        kinds: dict[str, tuple[str, Sequence[Callable[[pa.DataType], bool]]]] = {
            "id": ("text or an integer", (pa.types.is_string, pa.types.is_integer)),
            "time": ("a timestamp", (pa.types.is_timestamp,)),
            "annotator": ("text or an integer", (pa.types.is_string, pa.types.is_integer)),
            "confidence": ("a number", (pa.types.is_floating, pa.types.is_integer)),
            "revision": ("an integer", (pa.types.is_integer,)),
        }
        for role, (expected, tests) in kinds.items():
            name = getattr(self, role)
            if name is None:
                continue
            kind = contract.field(name).arrow
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not any(test(kind) for test in tests):
                raise DeclarationError(f"{contract.name}.{name} is the labels' {role}: expected {expected}, got {kind}")

    def check_annotators(self, contract: Contract) -> None:
        """Raise DeclarationError or SchemaError unless labels say who gave them, and are of classes."""
        if self.annotators is None:
            return
        if self.annotator is None:
            names = [field.name for field in contract.fields]
            raise DeclarationError(
                "Labels(annotators=...) without annotator=...: name the field that says who gave a label"
                f"{nearest('annotator', names)}"
            )
        contract.field(self.annotator)
        versions = [field for field in contract.fields if field.name == GUIDELINES_FIELD]
        if versions and not pa.types.is_string(versions[0].arrow):
            raise DeclarationError(f"{contract.name}.{GUIDELINES_FIELD}: expected text, got {versions[0].arrow}")
        if not self.target_classes(contract):
            raise DeclarationError(
                "Labels(annotators=...): annotators agree on classes, and the label is a number; declare classes=[...]"
            )

    def kind(self, contract: Contract) -> pl.DataType:
        """The label's type, found without any data."""
        self.check(contract)
        try:
            return to_polars(contract.arrow.empty_table()).select(self.label.alias("label")).schema["label"]
        except pl.exceptions.PolarsError as error:
            raise DeclarationError(f"the label cannot be computed from {contract.name}: {error}") from None

    def target_classes(self, contract: Contract) -> tuple[ClassLabel, ...]:
        """The declared or implied classes; none for a regression."""
        kind = self.kind(contract)
        if self.classes is not None:
            return tuple(self.classes)
        if kind == pl.Boolean:
            return (False, True)
        if kind.is_numeric():
            return ()
        raise DeclarationError(f"the label is {kind}: declare its classes, e.g. Labels(..., classes=['low', 'high'])")


@dataclass(frozen=True)
class Profiles:
    """What windows of events look like: sketches of features, predictions and outcomes, as records on P.profiles.

    `window` is a span of event time, counted from 1970 in UTC. `slices` name features, text or numbers of few values,
    each value of which has profiles of its own. `grace` is how long after its end a window is still added to.
    """

    window: str | timedelta = "1d"
    slices: Sequence[str] = ()
    grace: str | timedelta = "1h"

    def windows(self, features: pa.Schema) -> ProfileWindows:
        """As the engine has it; raises DeclarationError unless the slices are features that can be cut by."""
        span = duration(self.window)
        if span < _SHORTEST_WINDOW:
            raise DeclarationError(f"Profiles(window={self.window!r}): expected a second at least")
        for name in self.slices:
            if name not in features.names:
                raise DeclarationError(
                    f"Profiles(slices=...) names {name!r}, which is no feature{nearest(name, features.names)}"
                )
            kind = features.field(name).type
            if not (pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)):
                raise DeclarationError(
                    f"Profiles(slices=...): feature {name!r} is {kind}; expected text, a boolean or an integer"
                )
        duration(self.grace)
        return ProfileWindows(span, tuple(self.slices))


@dataclass(frozen=True)
class Model:
    """The model: an unfitted scikit-learn estimator (or anything alike) and the features that it sees.

    `prior` is answered until a first model is announced: the probability of True (or of each class), or a number.
    Without it, events before the first model are rejected as `no_model`.

    `deadline`, a minute at most, is how long the model may take for a batch: when it is over, the batch's events are
    rejected as `model_deadline`, and so are those that come until that call has returned.

    A training job tries the estimator, the `candidates` beside it and the simple baseline: `search_trials` sets of
    parameters in all, drawn with `seed`, for the best `metric` ("log_loss", "brier", "accuracy", "auc"; for numbers
    "mae", "rmse"), which is log-loss or the mean absolute error if nothing is said. With `privacy` it is fitted with
    differential privacy, once and as declared: each further look at the rows would cost privacy as well.
    With `learning` the estimator, one of River's, learns from each outcome in the stream: `tidemill learn` runs it.
    """

    estimator: Any
    features: Sequence[str]
    prior: float | Mapping[Any, float] | None = None
    deadline: str | timedelta = "30s"
    candidates: Sequence[Candidate] = ()
    search_trials: int = 20
    metric: str | None = None
    seed: int = 0
    privacy: DifferentialPrivacy | None = None
    learning: Learning | None = None

    @property
    def deadline_seconds(self) -> float:
        """The time for a batch."""
        return duration(self.deadline) / 1e6

    @property
    def every_candidate(self) -> tuple[Candidate, ...]:
        """The estimator and the candidates beside it; raises DeclarationError if two have one name."""
        return all_candidates(self.estimator, self.candidates)

    def target(self, classes: tuple[ClassLabel, ...]) -> Target:
        """What the predictions hold."""
        for_classes(self.estimator, classes)
        target = Target(classes, self.prior)
        metric_of(self.metric, target)
        return target

    def check(self, features: pa.Schema, *, classes: bool = True) -> None:
        """Raise DeclarationError unless the named features exist and have a type that models can use."""
        if not self.features:
            raise DeclarationError("Model(features=[...]): name at least one feature")
        if self.search_trials < len(self.every_candidate):
            raise DeclarationError(
                f"Model(search_trials={self.search_trials}): expected one at least for each of the"
                f" {len(self.every_candidate)} candidates"
            )
        if self.deadline_seconds > _LONGEST_DEADLINE:
            raise DeclarationError(
                f"Model(deadline=...) holds a partition back: expected at most {_LONGEST_DEADLINE} s, got"
                f" {self.deadline!r}"
            )
        if self.learning is not None:
            self.learning.check(self.estimator)
        for name in self.features:
            if name not in features.names:
                raise DeclarationError(
                    f"the model asks for a feature {name!r} that is not declared{nearest(name, features.names)}"
                )
            kind = features.field(name).type
            if not (
                pa.types.is_boolean(kind)
                or pa.types.is_integer(kind)
                or pa.types.is_floating(kind)
                or pa.types.is_string(kind)
            ):
                raise DeclarationError(
                    f"feature {name!r} is {kind}; a model takes numbers, booleans and text: make one by an expression"
                )
        if self.privacy is not None:
            self._check_private(self.privacy, features, classes)

    def _check_private(self, privacy: DifferentialPrivacy, features: pa.Schema, classes: bool) -> None:
        from tidemill.processors.training.private_models import require_private

        if self.candidates:
            raise DeclarationError("Model(privacy=..., candidates=...): every fit costs privacy; declare one estimator")
        require_private(self.estimator, classes=classes)
        privacy.check(features, self.features, classes=classes)
