"""A pipeline: declared once, run by workers, read by clients."""

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidemill.access import Access
from tidemill.declaration import Events, Labels, Model, Profiles, as_contract, refuse_private
from tidemill.hash_key import hash_key
from tidemill.processors.drift.declaration import Drift, check_policy, default_policy
from tidemill.processors.drift.policy import DriftPolicy
from tidemill.processors.duration import duration
from tidemill.processors.feature_enrichment import FeatureEnrichment, FileTable, Lookup, TopicTable
from tidemill.processors.feature_enrichment.hops import split
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable
from tidemill.processors.feature_enrichment.plan import Feature
from tidemill.processors.online_inference import OnlineInference
from tidemill.processors.online_inference.beside import SHADOW_PREDICTIONS
from tidemill.processors.online_inference.target import Target
from tidemill.processors.outcomes import LabelIntake, Outcomes
from tidemill.processors.retraining import Retrain
from tidemill.processors.rollout.declaration import Rollout
from tidemill.processors.sanity_check import Check, SanityCheck
from tidemill.processors.sanity_check.private_fields import Digest, PrivateFields, hash_keys, keyed_hash
from tidemill.processors.stage import Stage
from tidemill.processors.training.gates.declaration import Gates
from tidemill.schemas.arrow_types import generate
from tidemill.schemas.builtin import LABEL_REQUEST
from tidemill.schemas.contract import Contract
from tidemill.schemas.derived import event_contract, flagged_contract, label_contract, validated_contract
from tidemill.schemas.errors import DeclarationError, nearest
from tidemill.streams import plan as streams_plan
from tidemill.streams.plan import OUTPUTS, Plan
from tidemill.streams.reference import load_file_table
from tidemill.streams.watch import Watch

_QUIET_PARTITION_MS = 60_000
"""For how long a partition without any profile is waited for."""

PUBLISHED = (*OUTPUTS, "outcomes")
"""The topics that a pipeline writes unless it says otherwise."""


class Pipeline:
    """Events, the checks that they must pass, the features made of them, and the model that answers them.

    Nothing happens when a pipeline is made but that it is checked: fields, types and names that do not fit are
    refused with a `DeclarationError`. Paths are relative to `base`, by default the folder of the file in which the
    pipeline is declared.

    `publish` names those of the topics "validated", "features", "predictions" and "outcomes" that are written. A
    pipeline that publishes less costs less. But without validated events and features all its stages run in one worker,
    models cannot be trained on served features, and a replay has none to compare with; without outcomes labels are for
    training only, and there are no profiles. Predictions are always published.

    `profiles` has windows of events written to P.profiles as sketches, and `drift` is what `tidemill control` looks for
    in them. Either one is enough: by default windows are days, and all is looked for that the pipeline has something
    for; `drift=()` is nothing. `retrain` says when that, time or labels lead to a new model.

    `gates` are what a new model must pass before it is scored beside the champion. `rollout` is how `tidemill control`
    moves it from there to champion, and back; without it, and without `retrain`, people do (`tidemill models`).

    `idle` matters to windows on other keys than the events': how long a partition must have been quiet before the
    others' events are counted without waiting for it.
    """

    def __init__(
        self,
        name: str,
        events: Events,
        *,
        checks: Sequence[Check] = (),
        features: Sequence[Feature] = (),
        tables: Sequence[FileTable | TopicTable] = (),
        labels: Labels | None = None,
        model: Model | None = None,
        profiles: Profiles | None = None,
        drift: Sequence[Drift] | None = None,
        retrain: Retrain | None = None,
        gates: Gates | None = None,
        rollout: Rollout | None = None,
        partitions: int = 4,
        retention: str | timedelta = "7d",
        publish: Sequence[str] = PUBLISHED,
        access: Access | None = None,
        idle: str | timedelta = "200ms",
        base: Path | str | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,99}", name):
            raise DeclarationError(
                f"pipeline {name!r}: expected a letter, then letters, digits, - and _ (it begins the topics' names)"
            )
        if partitions < 1:
            raise DeclarationError(f"pipeline {name}: expected at least one partition, got {partitions}")
        self.name, self.events, self.labels, self.model = name, events, labels, model
        self.profiles = Profiles() if (drift or retrain is not None) and profiles is None else profiles
        self.retrain = retrain
        self.checks, self.features, self.tables = tuple(checks), tuple(features), tuple(tables)
        self._drift = None if drift is None else tuple(drift)
        self.gates = gates or Gates()
        # A pipeline that makes models by itself moves them by itself as well.
        self.rollout = rollout or (Rollout() if retrain is not None else None)
        self.partitions, self.retention_ms = partitions, duration(retention) // 1000
        self.publish = _published(name, publish)
        self.access = access or Access()
        self.idle_seconds = duration(idle) / 1_000_000
        # Paths in a pipeline file are relative to that file, however it is loaded.
        caller = sys._getframe(1).f_globals.get("__file__")
        self.base = Path(base) if base is not None else Path(caller).parent if caller else Path.cwd()
        contract = as_contract(events.contract, self.base)
        self.private = events.private_fields(contract)
        self.contract = event_contract(
            self.private.marked(contract), key=events.key, time=events.time, event_id=events.id
        )
        self.labels_contract = (
            label_contract(as_contract(labels.contract, self.base), labels.id, _guidelines(labels, self.base))
            if labels is not None
            else None
        )
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        """The pipeline as the engine runs it; reference files are read now."""
        if self._plan is None:
            self._plan = self.make_plan()
        return self._plan

    def target(self) -> Target:
        """What the pipeline predicts."""
        if self.model is None or self.labels is None or self.labels_contract is None:
            return Target((), None)
        return self.model.target(self.labels.target_classes(self.labels_contract))

    @property
    def joins_labels(self) -> bool:
        """Whether predictions are set beside what happens, on P.outcomes."""
        return self.model is not None and "outcomes" in self.publish

    @property
    def drift(self) -> tuple[Drift, ...]:
        """What is looked for: as declared, or else, if there are profiles, all that the pipeline has something for."""
        has = {"model": self.model is not None, "labels": self.labels is not None}
        if self._drift is None and self.profiles is not None:
            return default_policy(**has, classes=bool(self.target().classes))
        return self._drift or ()

    def _watch(self, target: Target, features: Sequence[str]) -> Watch | None:
        """How windows are watched; None where nothing is looked for."""
        declared = self.drift
        if self.profiles is None or not (declared or self.retrain is not None):
            return None
        grace = duration(self.profiles.grace)
        check_policy(
            declared,
            model=self.model is not None,
            labels=self.labels is not None,
            classes=bool(target.classes),
        )
        for drift in declared:
            drift.check_columns(self.profiles.slices if drift.kind == "fairness" else features)
        kinds: dict[str, int] = dict.fromkeys(("features", "predictions", "rejections"), grace // 1000)
        if self.labels is not None:
            kinds["outcomes"] = (grace + self.labels.horizon.kept) // 1000
        return Watch(
            kinds,
            _QUIET_PARTITION_MS,
            lambda references: DriftPolicy(declared, references, target),
            retrain=self.retrain,
        )

    def make_plan(self) -> Plan:
        """A plan of its own: what topics tell of reference tables is held per plan."""
        self.events.check(self.contract)
        if self.profiles is not None and self.model is None:
            raise DeclarationError(f"pipeline {self.name} declares profiles but no model: there are no predictions")
        if self.profiles is not None and not self.joins_labels:
            raise DeclarationError(f"pipeline {self.name} declares profiles: add 'outcomes' to publish=[...]")
        if self.rollout is not None and not self.joins_labels:
            raise DeclarationError(
                f"pipeline {self.name} declares a rollout, which compares models by what happened: it needs a model,"
                " labels, and 'outcomes' in publish=[...]"
            )
        if self.model is not None and self.labels is None:
            raise DeclarationError(
                f"pipeline {self.name} declares a model but no labels: what is it to learn? Add labels=tm.Labels(...)"
            )
        tables, topic_tables, hashes = self._load_tables()
        target = self.target()
        description = self._describe(hashes)
        digest = hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()[:12]

        secret = cache(lambda: keyed_hash(hash_key()))

        def make_stages() -> Sequence[Stage]:
            # Without a key a worker does not start; to declare a pipeline and to send events none is needed.
            keyed = secret() if self.private.hashed else None
            stages = (self._sanity_check(keyed), *split(self._enrichment(tables, digest)), OnlineInference(target))
            if not self.joins_labels or self.labels is None or self.labels_contract is None:
                return stages
            return (*stages, LabelIntake(self.labels_contract, self.labels.fields, target))

        if self.model is not None:
            self.gates.check(self._enrichment(tables, digest).schema.names, target)
            (self.rollout or Rollout()).check(len(target.classes))
            if self.retrain is not None:
                self.retrain.check(len(target.classes))
        self._sanity_check()
        self._refuse_private(tables)
        enrichment, inference = self._enrichment(tables, digest), OnlineInference(target)
        features = enrichment.schema
        if self.model is not None:
            self.model.check(features, classes=bool(target.classes))
        namespace = "tidemill." + re.sub(r"\W", "_", self.name)
        contracts = {
            "events": self.contract,
            "validated": validated_contract(self._checked()),
            "features": generate("Features", namespace, features, f"The features of pipeline {self.name}, as served."),
            "predictions": generate(
                "Prediction", namespace, inference.prediction_fields(features), f"A prediction of pipeline {self.name}."
            ),
            SHADOW_PREDICTIONS: generate(
                "ShadowPrediction",
                namespace,
                inference.shadow_fields(features),
                f"An answer of a model of pipeline {self.name} that its subscribers did not get.",
            ),
        }
        if self.labels is not None and self.labels_contract is not None:
            contracts["labels"] = self.labels_contract
            if self.joins_labels:
                said = f"What happened in pipeline {self.name}, beside what was predicted."
                contracts["outcomes"] = generate("Outcome", namespace, self._outcomes(features, target).schema, said)
            if self.labels.annotators is not None:
                self.labels.check_annotators(self.labels_contract)
                contracts["label-requests"] = LABEL_REQUEST
        return Plan(
            name=self.name,
            version=digest,
            contracts=contracts,
            event_id=self.events.id,
            event_key=self.events.key,
            event_time=self.events.time,
            target=target,
            make_stages=make_stages,
            topic_tables=topic_tables,
            partitions=self.partitions,
            retention_ms=self.retention_ms,
            schema_wait_seconds=self.events.schema_wait_seconds,
            model_deadline_seconds=self.model.deadline_seconds if self.model else Plan.model_deadline_seconds,
            challenger_deadline_seconds=(self.rollout or Rollout()).deadline_seconds,
            rollout=self.rollout,
            gates=self.gates,
            publish=[suffix for suffix in self.publish if suffix in OUTPUTS],
            description=description,
            hops=enrichment.hops,
            late_tables=[table.name for table in enrichment.plan.joined_after],
            idle_seconds=self.idle_seconds,
            make_outcomes=(lambda: self._outcomes(features, target)) if self.joins_labels else None,
            profile_window=None if self.profiles is None else self.profiles.windows(features).window,
            hash_keys=(lambda keys: hash_keys(keys, secret())) if self._key_is_private else None,
            private=bool(self.private),
            watch=self._watch(target, self.model.features if self.model else ()),
        )

    @property
    def _key_is_private(self) -> bool:
        return self.events.key in self.private.names

    def _sanity_check(self, digest: Digest | None = None) -> SanityCheck:
        events = self.events
        return SanityCheck(
            self.contract,
            event_id=events.id,
            event_time=events.time,
            checks=self.checks,
            nan=events.nan,
            private=self.private,
            digest=digest,
        )

    def _checked(self, private: PrivateFields | None = None) -> Contract:
        """What features are made of: the event without what is private, with the flags of its checks."""
        flagged = flagged_contract(self.contract, [flag.name for flag in self._sanity_check().flags])
        return (self.private if private is None else private).shown(flagged)

    def _refuse_private(self, tables: Mapping[str, ReferenceTable]) -> None:
        """Raise DeclarationError if a feature, a window or a lookup reads a private field that is not hashed."""
        if not self.private.dropped:
            return
        plan = self._enrichment(tables, "", self._checked(PrivateFields((), self.private.hashed))).plan
        read = plan.event_columns | set(plan.hops) | {field.name for field in plan.features}
        shown = sorted(read & set(self.private.dropped))
        if shown:
            raise DeclarationError(
                f"a feature reads {shown[0]!r}, which is private in {self.contract.name}, and features are not: do"
                f" without it, or have its keyed hash by Events(private=[tm.hashed({shown[0]!r})])"
            )

    def _enrichment(
        self, tables: Mapping[str, ReferenceTable], version: str, checked: Contract | None = None
    ) -> FeatureEnrichment:
        return FeatureEnrichment(
            self.features,
            checked or self._checked(),
            id_field=self.events.id,
            key_field=self.events.key,
            time_field=self.events.time,
            version=version,
            tables=tables,
        )

    def _outcomes(self, features: pa.Schema, target: Target) -> Outcomes:
        """What joins labels; outcomes carry the model's features, and those by which profiles and rollouts are cut."""
        labels, model = self.labels, self.model
        assert labels is not None
        assert model is not None
        windows = None if self.profiles is None else self.profiles.windows(features)
        judged = () if self.rollout is None else (*self.gates.slices, *self.gates.sensitive)
        names = dict.fromkeys([*model.features, *(() if windows is None else windows.slices), *judged])
        return Outcomes(
            [features.field(name).with_nullable(True) for name in names],
            target,
            labels.horizon,
            labels.policies,
            revised=labels.revision is not None,
            timed=labels.time is not None,
            profiled=None if windows is None else (self.name, windows, model.features),
        )

    def _load_tables(self) -> tuple[dict[str, ReferenceTable], list[streams_plan.TopicTable], dict[str, str]]:
        """The reference tables, those of them that live in a topic, and what identifies their content."""
        given = [
            feature.declaration for feature in self.features if isinstance(feature, Lookup) and feature.declaration
        ]
        tables: dict[str, ReferenceTable] = {}
        in_topics: list[streams_plan.TopicTable] = []
        hashes: dict[str, str] = {}
        for declared in dict.fromkeys([*self.tables, *given]):
            if declared.name in tables:
                raise DeclarationError(f"two reference tables have the name {declared.name!r}; rename one")
            if isinstance(declared, FileTable):
                tables[declared.name], hashes[declared.name] = load_file_table(declared, self.base)
                continue
            contract = as_contract(declared.contract, self.base)
            refuse_private(contract, "reference tables")
            tables[declared.name] = ReferenceTable(declared.name, contract.arrow, declared.key, version=0)
            in_topics.append(
                streams_plan.TopicTable(f"{self.name}.table-{declared.name}", contract, tables[declared.name])
            )
            hashes[declared.name] = contract.fingerprint_hex
        return tables, in_topics, hashes

    def _describe(self, tables: Mapping[str, str]) -> dict[str, Any]:
        """All that decides about features: two pipelines with the same description compute the same ones."""
        return {
            "tidemill": version("tidemill"),
            "name": self.name,
            "events": self.contract.text,
            "nan": self.events.nan,
            "checks": [check.describe() for check in self.checks],
            "features": [feature.describe() for feature in self.features],
            "tables": dict(tables),
            # Where nothing is private, a pipeline keeps the version that it had before there was such a thing.
            **({"private": [self.private.dropped, self.private.hashed]} if self.private else {}),
        }


def _guidelines(labels: Labels, base: Path) -> dict[str, str]:
    """What goes out with the labels' contract, for whoever labels."""
    declared = labels.annotators
    if declared is None or declared.guidelines_version is None:
        return {}
    text = declared.guidelines_text(base)
    return {"version": declared.guidelines_version, **({} if text is None else {"text": text})}


def _published(name: str, publish: Sequence[str]) -> tuple[str, ...]:
    """The chosen topics in the order of the stages that write them."""
    for suffix in publish:
        if suffix not in PUBLISHED:
            raise DeclarationError(
                f"pipeline {name}: publish names {suffix!r}{nearest(suffix, OUTPUTS)}; expected some of"
                f" {', '.join(PUBLISHED)}"
            )
    if OUTPUTS[-1] not in publish:
        raise DeclarationError(f"pipeline {name}: publish must name {OUTPUTS[-1]!r}, by which every event is answered")
    return tuple(suffix for suffix in PUBLISHED if suffix in publish)
