"""What all steps of a job have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidemill.declaration import Model
from tidemill.pipeline import Pipeline
from tidemill.processors.online_inference.target import Target
from tidemill.schemas.errors import DeclarationError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.archive import Archive
from tidemill.streams.kafka.connection import Connection

Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class JobContext:
    """A job: its pipeline, what the trigger says, and where things are.

    `tell` hears of each step and how far the job is, from 0 to 1. `lineage` is where run events go, as in
    `open_lineage`; `tracking` says whether the job is written down in MLflow: by itself, or if there is a folder
    `left`, by the runner that finds there what the job leaves.
    """

    pipeline: Pipeline
    connection: Connection
    spec: Mapping[str, Any]
    archive: Archive
    home: Path
    tell: Tell = lambda step, progress: None  # noqa: ARG005
    registry: SchemaSource | None = None
    trusted: Sequence[str] = ()
    lineage: str | None = None
    tracking: bool = True
    left: Path | None = None
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """The job's id, which is its trigger's."""
        return str(self.spec["id"])

    @property
    def trigger(self) -> Mapping[str, Any]:
        """The trigger, a row of `schemas/retrain_trigger.avsc` in JSON."""
        found: Mapping[str, Any] = self.spec["trigger"]
        return found

    @property
    def since(self) -> datetime | None:
        """From when on events follow another law, if the trigger knows."""
        found = self.trigger.get("since")
        return None if found is None else datetime.fromisoformat(found)

    @property
    def model(self) -> Model:
        """What is declared of the model."""
        if self.pipeline.model is None or self.pipeline.labels is None:
            raise DeclarationError(f"pipeline {self.pipeline.name} declares no model, or no labels to learn from")
        return self.pipeline.model

    @property
    def target(self) -> Target:
        """What the pipeline predicts."""
        return self.pipeline.target()
