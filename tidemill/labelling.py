"""Labels that people gave: read, judged as the pipeline declares, and asked for again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from tidemill.annotators import Annotators
from tidemill.declaration import Labels
from tidemill.pipeline import Pipeline
from tidemill.processors.frames import to_polars
from tidemill.processors.label_quality import Assessment, AuditRule, assess, label_requests
from tidemill.processors.label_quality.answers import (
    ANNOTATOR,
    CONFIDENCE,
    EVENT,
    GUIDELINES,
    LABEL,
    REVISION,
    TIME,
)
from tidemill.processors.training.decisions import decisions
from tidemill.schemas.builtin import LABEL_REQUEST
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.derived import GUIDELINES_FIELD, GUIDELINES_HEADER
from tidemill.schemas.errors import DeclarationError, nearest
from tidemill.schemas.resolver import KnownSchemas, SchemaSource
from tidemill.streams.history import Progress, read_stamped, read_topic
from tidemill.streams.ports import History, Sender
from tidemill.streams.reference import read_file


def read_labels(pipeline: Pipeline, reader: History, schemas: SchemaSource, progress: Progress) -> pa.Table:
    """All labels on the log, with what only their records tell: for the functions of this module."""
    _, contract = declared(pipeline)
    return read_stamped(f"{pipeline.name}.labels", contract, reader, schemas, GUIDELINES_HEADER, progress)


def said(pipeline: Pipeline, arrived: pa.Table) -> pl.DataFrame:
    """What labels say, in the columns of `processors.label_quality.answers`; times are in microseconds."""
    labels, contract = declared(pipeline)
    frame = to_polars(arrived)
    names = {field.name for field in contract.fields}

    def of(field: str | None, kind: Any) -> pl.Expr:
        return pl.lit(None, kind) if field is None else pl.col(field).cast(kind)

    stamp = pl.col("@timestamp") if "@timestamp" in frame.columns else pl.lit(None, pl.Int64)
    header = pl.col("@header") if "@header" in frame.columns else pl.lit(None, pl.String)
    version = pl.col(GUIDELINES_FIELD).cast(pl.String) if GUIDELINES_FIELD in names else header
    time = stamp if labels.time is None else pl.coalesce(pl.col(labels.time).dt.epoch("us"), stamp)
    return frame.select(
        pl.col(labels.id).cast(pl.String).alias(EVENT),
        of(labels.annotator, pl.String).alias(ANNOTATOR),
        labels.label.alias(LABEL),
        of(labels.confidence, pl.Float64).alias(CONFIDENCE),
        time.alias(TIME),
        of(labels.revision, pl.Int64).alias(REVISION),
        version.alias(GUIDELINES),
    )


def assess_labels(
    pipeline: Pipeline, arrived: pa.Table, since: datetime | None = None, until: datetime | None = None
) -> Assessment:
    """Judge the labels whose time lies in [since, until) as the pipeline declares.

    Raises:
        DeclarationError: the pipeline does not say who gives labels, or its gold questions cannot be read.

    """
    labels, contract = declared(pipeline)
    classes = labels.target_classes(contract)
    if not classes:
        raise DeclarationError(f"the labels of pipeline {pipeline.name} are numbers: annotators agree on classes only")
    rules = labels.annotators or Annotators()
    answers = said(pipeline, arrived)
    # Anything else is no label: the outcomes' intake rejects it.
    answers = answers.filter(pl.col(LABEL).is_in(pl.Series(classes, dtype=answers.schema[LABEL]).implode()))
    for bound, keep in ((since, pl.col(TIME).ge), (until, pl.col(TIME).lt)):
        if bound is not None:
            answers = answers.filter(keep(round(bound.timestamp() * 1e6)))
    return assess(answers, gold_questions(pipeline), rules.rule, len(classes), rules.experts)


def decided_labels(pipeline: Pipeline, arrived: pa.Table, until: datetime | None = None) -> pa.Table | None:
    """What the annotators' labels before `until` come to, as from `decisions`: what every training learns from.

    None where labels do not say who gave them, or are numbers: then an event's last label counts.
    """
    if pipeline.labels is None or pipeline.labels.annotator is None or not pipeline.target().classes:
        return None
    return decisions(assess_labels(pipeline, arrived, until=until).decided)


def read_decided(
    pipeline: Pipeline, reader: History, schemas: SchemaSource, until: datetime | None = None
) -> pa.Table | None:
    """As `decided_labels`, of the labels on the log."""
    if pipeline.labels is None or pipeline.labels.annotator is None:
        return None
    return decided_labels(pipeline, read_labels(pipeline, reader, schemas, lambda n: None), until)  # noqa: ARG005


def gold_questions(pipeline: Pipeline) -> pl.DataFrame:
    """The declared events whose label is known: `event_id` and `label`.

    Raises:
        DeclarationError: the file cannot be read, has not these columns, or has a label that is none of the classes.

    """
    labels, contract = declared(pipeline)
    kind, classes = labels.kind(contract), labels.target_classes(contract)
    if labels.annotators is None or labels.annotators.gold is None:
        return pl.DataFrame(schema={EVENT: pl.String, LABEL: kind})
    path = pipeline.base / labels.annotators.gold
    found = to_polars(read_file(path, "gold questions", text=(EVENT, LABEL)))
    for name in (EVENT, LABEL):
        if name not in found.columns:
            raise DeclarationError(
                f"gold questions in {path}: there is no column {name!r}{nearest(name, found.columns)}"
            )
    known = {str(label).lower(): label for label in classes}
    texts = found[LABEL].cast(pl.String).str.to_lowercase().to_list()
    for row, text in enumerate(texts):
        if text not in known:
            given = found[LABEL][row]
            expected = ", ".join(map(str, classes))
            raise DeclarationError(
                f"gold questions in {path}, row {row}: expected a label out of {expected}, got {given!r}"
                f"{nearest(str(text), known)}"
            )
    made = pl.DataFrame({EVENT: found[EVENT].cast(pl.String), LABEL: pl.Series([known[t] for t in texts], dtype=kind)})
    if made[EVENT].null_count():
        raise DeclarationError(f"gold questions in {path}: expected an id in every row, found a row without one")
    doubled = made.filter(made[EVENT].is_duplicated())
    if len(doubled):
        raise DeclarationError(f"gold questions in {path}: {doubled[EVENT][0]!r} is there twice; leave one")
    return made


@dataclass(frozen=True)
class Requested:
    """What an audit asked for."""

    requests: pl.DataFrame
    """All that the labels call for: `request_id`, `event_id`, `why`, `asked_at` in microseconds."""
    sent: pl.DataFrame
    """Those of them that were not on the topic yet."""


def request_labels(pipeline: Pipeline, arrived: pa.Table, before: Iterable[str], sender: Sender) -> Requested:
    """Ask for labels: a sample of the labelled events, with gold questions in it, and those in dispute or doubt.

    `arrived` is as from `read_labels`, `before` has the ids of the requests that are there: those are not sent again.

    Raises:
        DeclarationError: the pipeline declares no annotators.

    """
    labels, _ = declared(pipeline)
    if labels.annotators is None:
        raise DeclarationError(
            f"pipeline {pipeline.name} declares no annotators: add Labels(..., annotators=tm.Annotators(...))"
        )
    rules, found = labels.annotators, assess_labels(pipeline, arrived)
    rule = AuditRule(pipeline.name, rules.audit, rules.seed or pipeline.name, rules.agree, rules.guidelines_version)
    requests = label_requests(found.decided, found.gold[EVENT], rule)
    fresh = requests.filter(~pl.col("request_id").is_in(list(before))).unique("request_id", maintain_order=True)
    codec = Codec(LABEL_REQUEST, KnownSchemas([LABEL_REQUEST]))
    rows = [{**row, "guidelines_version": rules.guidelines_version} for row in fresh.iter_rows(named=True)]
    for row, value in zip(rows, codec.encode_rows(rows), strict=True):
        sender.send(f"{pipeline.name}.label-requests", row[EVENT].encode(), value)
    sender.flush()
    return Requested(requests, fresh)


def read_requests(pipeline: str, reader: History, schemas: SchemaSource) -> pl.DataFrame:
    """The requests on the log, each once, by time."""
    found = to_polars(read_topic(f"{pipeline}.label-requests", LABEL_REQUEST, reader, schemas))
    return found.unique("request_id", keep="first", maintain_order=True).sort("asked_at", "request_id")


def declared(pipeline: Pipeline) -> tuple[Labels, Contract]:
    """The labels of a pipeline that says who gives them.

    Raises:
        DeclarationError: it does not.

    """
    labels, contract = pipeline.labels, pipeline.labels_contract
    if labels is None or contract is None or labels.annotator is None:
        raise DeclarationError(
            f"pipeline {pipeline.name} does not say who gives labels: add labels=tm.Labels(..., annotator=FIELD)"
        )
    return labels, contract
