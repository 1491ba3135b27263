"""Reading what a report is made of from the pipeline's topics, in memory that grows with windows, not with events."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import Any

from tidemill.client import Client
from tidemill.pipeline import Pipeline
from tidemill.processors.drift import Profile, from_table, reference_profiles
from tidemill.processors.drift.reference import Reference
from tidemill.report.material import Material, RejectionCounts, Windows
from tidemill.schemas.builtin import PROFILE
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import DeclarationError, ModelError
from tidemill.streams.alerts import ALERTS, decode_alerts
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.models import announcements, fetch_artefact
from tidemill.streams.rejected_log import EVERYTHING, read_rejections

_BATCH = 200
Progress = Callable[[int], None]
log = logging.getLogger(__name__)


def read_material(
    client: Client,
    slice_: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> Material:
    """Everything about the windows of one slice that begin in [since, until), and the rejections of that time.

    Raises:
        DeclarationError: the pipeline has no profiles.

    """
    start, end = _milliseconds(since), _milliseconds(until)
    with closing(KafkaReader(client.connection)) as reader:
        there = set(reader.topics(f"{client.name}."))
        if f"{client.name}.profiles" not in there:
            raise DeclarationError(
                f"pipeline {client.name} has no profiles: declare profiles=tm.Profiles(...) and run it"
            )
        limits = {} if client.declared is None else fairness_limits(client.declared)
        windows = Windows(slice_, start, end, sensitive=limits)
        for profiles in _profiles(client, reader, progress):
            windows.add(profiles)
        models = announcements(Follower(client.connection, f"{client.name}.models"), wait=True)
        alerts: list[dict[str, Any]] = []
        if f"{client.name}.{ALERTS}" in there:
            records = reader.read(f"{client.name}.{ALERTS}", 0)
            alerts = decode_alerts([record.value for record in records if record.value is not None])
        references = _references(client.name, models, windows, reader)
        counted = _rejections(client.name, reader, start, end, progress)
    return Material(client.name, windows, references, models, alerts, counted, limits)


def fairness_limits(pipeline: Pipeline) -> dict[str, dict[str, float]]:
    """By sensitive field that gates or drift name, the limits of its figures; the lower one where both have one."""
    found = {field: dict(limits.limits()) for field, limits in pipeline.gates.sensitive.items()}
    for drift in pipeline.drift:
        for field in drift.columns or () if drift.kind == "fairness" else ():
            limits = found.setdefault(field, {})
            limits[drift.name] = min(drift.threshold, limits.get(drift.name, drift.threshold))
    return found


def _profiles(client: Client, reader: KafkaReader, progress: Progress) -> Iterator[list[Profile]]:
    topic, codec = f"{client.name}.profiles", Codec(PROFILE, client.schemas)
    for partition in reader.partitions(topic):
        records = reader.read(topic, partition)
        while batch := list(islice(records, _BATCH)):
            decoded = codec.decode([r.value for r in batch], [r.headers for r in batch])
            for bad in decoded.bad:
                log.error("%s[%d]@%d is not a profile: %s", topic, partition, batch[bad.row].offset, bad.message)
            progress(len(batch))
            yield from_table(decoded.table)


def _references(
    name: str, models: list[dict[str, Any]], windows: Windows, reader: KafkaReader
) -> Mapping[str, Reference]:
    """Those of the models that answered, and of the first, in the order of announcement; lost ones are left out."""
    answered = windows.answered(windows.spans)
    found: dict[str, Reference] = {}
    for event in models:
        version = event["model_version"]
        if event["status"] != "champion" or version in found or (found and not answered[version]):
            continue
        try:
            artefact = fetch_artefact(f"{name}.model-artefacts", event, reader)
            if artefact.sha256 != event["artefact_sha256"]:
                raise ModelError(f"expected sha256 {event['artefact_sha256']}, got {artefact.sha256}")
            reference = reference_profiles(artefact.data)
        except ModelError as error:
            log.error("the reference of model %s cannot be read: %s", version, error)
            continue
        if reference:
            found[version] = reference
    return found


def _rejections(
    name: str, reader: KafkaReader, since: int | None, until: int | None, progress: Progress
) -> RejectionCounts:
    counts = RejectionCounts()
    for partition in reader.partitions(f"{name}.rejected"):
        for rejection in read_rejections(reader, name, partition, EVERYTHING, progress):
            at = rejection.record.timestamp
            if (since is None or at >= since) and (until is None or at < until):
                counts.add(rejection.stage, rejection.reason, at)
    return counts


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)
