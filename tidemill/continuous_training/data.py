"""A job's data: the archive brought up to date, a data set of it, and the stretches that it is cut into."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.continuous_training.context import JobContext
from tidemill.labelling import read_decided
from tidemill.pipeline import Pipeline
from tidemill.processors.training.columns import KNOWN, LABEL_TIME
from tidemill.processors.training.dataset import Dataset, Recipe
from tidemill.processors.training.gates.examination import Parity
from tidemill.processors.training.selection import Selection, since
from tidemill.processors.training.stretches import Stretches, stretches
from tidemill.schemas.errors import ModelError, StreamError
from tidemill.streams.archive import Archive
from tidemill.streams.datasets import DatasetStore, build_dataset
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import Plan
from tidemill.streams.schema_topic import SchemaTopic

FRESH = 5_000
"""How many of the newest events, whose labels are not known yet, the gates look at."""
_EVENT_TIME = "event_time"


@dataclass(frozen=True)
class JobData:
    """The data set and its stretches; `fresh` are the newest events as served, None if there is no such topic."""

    dataset: Dataset
    stretches: Stretches
    fresh: pa.Table | None
    parity: Parity | None
    """How many rows that are examined on were compared with what was served, and how many are the same."""


def job_data(job: JobContext) -> JobData:
    """Archive what the topics have by now, and make a data set of the pipeline's selection of it.

    If somebody has asked for events from some time on, of these.

    Raises:
        ModelError: there is nothing to learn from.
        StreamError: the topics or the archive cannot be read.

    """
    pipeline, archive, plan = job.pipeline, job.archive, job.pipeline.plan()
    schemas = SchemaTopic(Follower(job.connection, plan.topic("schemas")), job.registry)
    with closing(KafkaReader(job.connection)) as reader:
        archive.catch_up(plan, reader, schemas)
        decided = read_decided(pipeline, reader, schemas)
    asked = job.since if job.trigger["cause"] == "request" else None
    selection: list[Selection] = [] if asked is None else [since(asked)]
    if pipeline.retrain is not None:
        selection += pipeline.retrain.select
    columns = list(dict.fromkeys([*job.model.features, *_extra(pipeline)]))
    dataset = build_dataset(archive, plan, Recipe({}, selection=tuple(selection)), features=columns, decided=decided)
    DatasetStore(archive).save(dataset)
    # When a label was known on the clock of events: a replay has its labels sent at quite another time.
    rows = _known_as_label_time(dataset.named())
    newest = _newest(archive, plan, columns)
    reached = max(pc.max(table[_EVENT_TIME]).as_py() for table in (rows, newest) if table is not None)
    cut = stretches(rows, reached.astimezone(UTC))
    fresh = None
    if newest is not None:
        kind = newest.schema.field(_EVENT_TIME).type
        fresh = newest.filter(pc.greater(newest[_EVENT_TIME], pa.scalar(cut.mature_until, kind)))
    return JobData(dataset, cut, fresh, _parity(archive, plan, cut.examine, job.model.features))


def require_enough(cut: Stretches, least: int) -> None:
    """Raise ModelError, which refuses the job, unless there is enough to learn from and to be examined on."""
    if cut.train.num_rows < least or not cut.choose.num_rows or not cut.examine.num_rows:
        raise ModelError(
            f"too little to learn from: {cut.train.num_rows:,} events with mature labels, where {least:,} are needed;"
            f" {cut.immature:,} more are newer than {cut.mature_until:%Y-%m-%d %H:%M}, up to where labels are complete"
        )


def _extra(pipeline: Pipeline) -> Sequence[str]:
    """What gates cut by, beside the model's features."""
    known = pipeline.plan().contracts["features"].arrow.names
    named = (*pipeline.gates.slices, *pipeline.gates.sensitive)
    return [name for name in named if name in known]


def _known_as_label_time(rows: pa.Table) -> pa.Table:
    return rows.set_column(rows.column_names.index(LABEL_TIME), LABEL_TIME, rows[KNOWN])


def _parity(archive: Archive, plan: Plan, rows: pa.Table, names: Sequence[str]) -> Parity | None:
    """Compare the rows, which outcomes brought, with P.features as it was served, value by value."""
    if "features" not in plan.publish or not rows.num_rows:
        return None
    place = ["source_partition", "source_offset"]
    try:
        served = archive.table("features").read(columns=[*place, *names])
    except StreamError:
        return None
    mine, theirs = pl.DataFrame(rows.select([*place, *names])), pl.DataFrame(served.select([*place, *names]))
    both = mine.join(theirs.unique(place, keep="first"), on=place, how="inner", suffix="@served")
    same = pl.all_horizontal([pl.col(name).eq_missing(pl.col(f"{name}@served")) for name in names])
    return Parity(len(both), int(both.select(same.sum()).item()) if len(both) else 0)


def _newest(archive: Archive, plan: Plan, columns: Sequence[str]) -> pa.Table | None:
    """The newest events as they were served."""
    if "features" not in plan.publish:
        return None
    wanted = list(dict.fromkeys(["event_id", _EVENT_TIME, *columns]))
    try:
        rows = archive.table("features").read(columns=wanted)
    except StreamError:
        return None
    if not rows.num_rows:
        return None
    ordered = rows.sort_by([(_EVENT_TIME, "descending")])
    return ordered.slice(0, FRESH).select(wanted)
